"""Taking a backup storage out of the cloud."""

from __future__ import annotations

from typing import ClassVar

import structlog
from msgspec import Struct

from cairn.kernel.api import DeleteMode
from cairn.kernel.error import CairnError, ErrorKind, not_found
from cairn.kernel.flow.engine import report_progress
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.resource import erase
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.services.backup_storage.directory import BackupStorageDirectory
from cairn.services.backup_storage.extensions import BackupStorageContent, BackupStorageDriver
from cairn.services.backup_storage.model import BackupStorage, BackupStorageState

_log = structlog.get_logger("cairn.backup_storage")


class RemoveInput(Struct, frozen=True, kw_only=True):
    """Which backup storage, and how."""

    backup_storage_uuid: str
    delete_mode: DeleteMode


class CloseOutput(Struct, frozen=True, kw_only=True):
    """How it was before."""

    former_state: BackupStorageState


class CloseBackupStorage(TransactionStep[RemoveInput, CloseOutput]):
    """Refuse while something is on it (unless enforcing); then let no more on it."""

    name = "backup-storage.close"
    title = "seeing that nothing is left on the backup storage"

    def __init__(self, extensions: Extensions) -> None:
        self._extensions = extensions

    def do(self, tx: Tx, given: RemoveInput) -> CloseOutput:
        """Close."""
        row = tx.get(BackupStorage, given.backup_storage_uuid)
        if row is None:
            raise not_found("backup-storage", "uuid", given.backup_storage_uuid)
        reasons = why_not_remove(tx, self._extensions, row.uuid)
        if reasons and given.delete_mode is not DeleteMode.ENFORCING:
            raise CairnError(
                "backup-storage.in-use",
                f"The backup storage {row.name} cannot go: {'; '.join(reasons)}. Delete and expunge them first, or have "
                "them removed with deleteMode=Enforcing.",
                kind=ErrorKind.CONFLICT,
            )
        tx.update(BackupStorage, row.uuid, state=BackupStorageState.DISABLED, last_op_date=tx.now)
        return CloseOutput(former_state=row.state)

    def undo(self, tx: Tx, given: RemoveInput, made: CloseOutput | None) -> None:
        """Open it again."""
        if made is not None:
            tx.update(BackupStorage, given.backup_storage_uuid, state=made.former_state)


class RemoveContent(ActionStep[RemoveInput, Nothing]):
    """When enforcing: remove what is on it."""

    name = "backup-storage.remove-content"
    title = "removing what is on the backup storage"
    nothing_to_undo: ClassVar[str | None] = "what is removed cannot be brought back; trying again goes on"

    def __init__(self, extensions: Extensions) -> None:
        self._extensions = extensions

    async def do(self, given: RemoveInput) -> Nothing:
        """Remove."""
        if given.delete_mode is DeleteMode.ENFORCING:
            keepers = self._extensions.of(BackupStorageContent)
            for index, keeper in enumerate(keepers):
                report_progress("", index / len(keepers))
                await keeper.remove_all(given.backup_storage_uuid)
        return NOTHING


class RemoveAgent(ActionStep[RemoveInput, Nothing]):
    """Take the agent away."""

    name = "backup-storage.remove-agent"
    title = "taking the agent off the backup storage"
    nothing_to_undo: ClassVar[str | None] = "reconnecting the backup storage puts the agent back"

    def __init__(self, directory: BackupStorageDirectory) -> None:
        self._directory = directory

    async def do(self, given: RemoveInput) -> Nothing:
        """Remove; when enforcing, a server that cannot be reached is left as it is."""
        row = await self._directory.storage(given.backup_storage_uuid)
        try:
            await (await self._directory.driver(row.uuid)).remove(row.uuid)
        except CairnError as error:
            if given.delete_mode is not DeleteMode.ENFORCING:
                raise CairnError(
                    "backup-storage.not-cleaned",
                    f"The agent could not be taken off the backup storage {row.name}. Put the server right and try "
                    "again, or forget it as it is with deleteMode=Enforcing.",
                    kind=ErrorKind.UNAVAILABLE,
                    cause=error,
                ) from error
            _log.warning("backup-storage.left-as-it-is", backup_storage=row.uuid, error=str(error))
        return NOTHING


class EraseBackupStorage(TransactionStep[RemoveInput, Nothing]):
    """Forget the backup storage."""

    name = "backup-storage.erase"
    title = "forgetting the backup storage"
    nothing_to_undo: ClassVar[str | None] = "it is the last step"

    def __init__(self, tags: Tags, extensions: Extensions, directory: BackupStorageDirectory) -> None:
        self._tags = tags
        self._extensions = extensions
        self._directory = directory

    def do(self, tx: Tx, given: RemoveInput) -> Nothing:
        """Erase; what its kind added to the row, and its zones, go with it."""
        row = tx.get(BackupStorage, given.backup_storage_uuid)
        if row is not None:
            self._extensions.named(BackupStorageDriver, row.type).removed(tx, row.uuid)
            self._tags.forget(tx, row.uuid)
            erase(tx, BackupStorage, row.uuid)
            tx.after_commit(lambda: self._directory.erased(given.backup_storage_uuid))
        return NOTHING


def why_not_remove(tx: Tx, extensions: Extensions, storage: str) -> list[str]:
    """What still needs the backup storage."""
    reasons = (keeper.why_not_remove(tx, storage) for keeper in extensions.of(BackupStorageContent))
    return [reason for reason in reasons if reason is not None]
