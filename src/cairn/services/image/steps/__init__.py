"""Steps of the image service."""
