"""The backup storage service for other services: the way to its agents."""

from __future__ import annotations

from typing import Protocol

from cairn.kernel.machine.agents import MachineAgents
from cairn.services.ids import BackupStorageId


class BackupStorageAgents(MachineAgents[BackupStorageId], Protocol):
    """The way to every backup storage's agent."""
