"""Steps of the backup storage service."""
