"""Steps of the cluster service, a file per operation."""
