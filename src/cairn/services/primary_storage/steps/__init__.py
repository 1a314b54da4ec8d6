"""Steps of the primary storage service."""
