"""Extension points of backup storage: kinds of it, and things that are kept on it."""

from __future__ import annotations

from typing import Protocol

from cairn.kernel.machine.kind import MachineDriver
from cairn.kernel.store.store import Tx
from cairn.services.ids import BackupStorageId


class BackupStorageDriver(MachineDriver, Protocol):
    """A type of backup storage (``SftpBackupStorage``), by whose name it is provided."""

    def image_url(self, tx: Tx, storage: BackupStorageId, path: str) -> str:
        """The URL from which hosts fetch the file at `path`. Called for every new VM: at most one read, by key."""


class BackupStorageContent(Protocol):
    """A keeper of things on backup storage, which is asked before one goes."""

    def why_not_remove(self, tx: Tx, storage: BackupStorageId) -> str | None:
        """The reason why the backup storage is still needed (``3 images are on it``), or None. Called inside a transaction."""

    async def remove_all(self, storage: BackupStorageId) -> None:
        """Remove all that can be reached on the backup storage; the rest is a debt (`BackupStorageDebts`). Safe to repeat."""
