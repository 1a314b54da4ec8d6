"""The agents that run on managed machines. Nothing of the management side is imported here but `agents.protocol`."""
