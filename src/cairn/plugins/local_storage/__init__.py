"""Local storage: the disks of hosts as primary storage."""
