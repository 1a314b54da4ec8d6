"""The backup_server plugin."""
