"""What keeps hosts and the database in step with VMs that nobody works on."""
