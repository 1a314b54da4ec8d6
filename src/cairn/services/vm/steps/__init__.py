"""Steps of the VM service, a file per operation."""
