"""Notes about what happened to VMs, and the tickets that they were made for: an example of a plugin."""
