"""``cairn bench``: measures a running cloud through its API."""
