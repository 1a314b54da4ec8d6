"""What runs on managed machines. Imports nothing of the management side but `agents.protocol`."""
