"""cairn: a private cloud in one process."""
