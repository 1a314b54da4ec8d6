"""``cairn up``, ``cairn down``, ``cairn status``: a whole cloud on one machine."""
