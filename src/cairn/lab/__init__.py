"""A real data center on one machine: hosts with their own file system, processes and addresses, reached over SSH."""

from cairn.lab.lab import HostState, HostStatus, Lab, LabStatus, Leftovers
from cairn.lab.probe import Feature

__all__ = ["Feature", "HostState", "HostStatus", "Lab", "LabStatus", "Leftovers"]
