"""Steps of the zone service, a file per operation."""
