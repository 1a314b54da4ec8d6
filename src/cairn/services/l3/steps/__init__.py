"""Steps of the L3 service, for workflows of VMs."""
