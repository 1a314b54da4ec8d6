"""Steps of the host service, a file per operation."""
