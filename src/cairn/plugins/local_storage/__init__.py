"""The local_storage plugin."""
