"""What plugins can do with backup storage: be a kind of it, and keep things on it."""

from __future__ import annotations

from typing import Protocol

from cairn.kernel.machine.kind import MachineDriver
from cairn.kernel.store.store import Tx
from cairn.services.ids import BackupStorageId


class BackupStorageDriver(MachineDriver, Protocol):
    """A type of backup storage (``SftpBackupStorage``), by whose name it is provided."""

    def image_url(self, tx: Tx, storage: BackupStorageId, path: str) -> str:
        """Where hosts fetch what is kept at `path`. It is asked for every VM: at most one read, by key."""


class BackupStorageContent(Protocol):
    """Keeps something on backup storage, and has a say when one is to go."""

    def why_not_remove(self, tx: Tx, storage: BackupStorageId) -> str | None:
        """What still needs the backup storage (``3 images are on it``), or None. Called inside a transaction."""

    async def remove_all(self, storage: BackupStorageId) -> None:
        """The backup storage goes, whatever is on it: remove what can be reached, forget the rest. Safe to repeat."""
