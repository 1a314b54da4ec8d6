"""The backup storage service for other services: the way to its agents, and the files that are still to be removed."""

from __future__ import annotations

from typing import Protocol

from cairn.kernel.machine.agents import MachineAgents
from cairn.kernel.store.store import Tx
from cairn.services.ids import BackupStorageId


class BackupStorageAgents(MachineAgents[BackupStorageId], Protocol):
    """The way to every backup storage's agent."""


class BackupStorageDebts(Protocol):
    """Files that are still to be removed from backup storage that could not be reached."""

    def owe(self, tx: Tx, storage: BackupStorageId, path: str, reason: str) -> None:
        """Note that a file is left on a backup storage, for a reason that administrators read.

        It is removed when the storage can be reached, at any time from now on: no other file may ever get that path. Safe to
        repeat; a backup storage that nobody knows owes nothing.
        """
