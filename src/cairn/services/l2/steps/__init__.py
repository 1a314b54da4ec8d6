"""Steps of the L2 service's workflows."""
