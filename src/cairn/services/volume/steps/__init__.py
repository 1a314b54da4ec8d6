"""Steps of the volume service."""
