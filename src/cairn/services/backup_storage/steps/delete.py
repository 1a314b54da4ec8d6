"""Taking a backup storage out of the cloud: removing its content."""

from __future__ import annotations

from typing import ClassVar

import structlog
from msgspec import Struct

from cairn.kernel.api import ApiDelete, DeleteMode
from cairn.kernel.error import CairnError
from cairn.kernel.flow.engine import report_progress
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing
from cairn.kernel.plugin.extension import Extensions
from cairn.services.backup_storage.debts import FileDebts
from cairn.services.backup_storage.extensions import BackupStorageContent
from cairn.services.ids import BackupStorageId

_log = structlog.get_logger("cairn.backup-storage")


class RemoveContentInput(Struct, frozen=True, kw_only=True):
    """The backup storage, and the call with its deletion mode."""

    uuid: str
    asked: ApiDelete


class RemoveContent(ActionStep[RemoveContentInput, Nothing]):
    """Remove all that is on the backup storage, if the call says to enforce; and in any case what it owes."""

    name = "backup-storage.remove-content"
    title = "removing what is on the backup storage"
    nothing_to_undo: ClassVar[str | None] = "what is removed cannot be brought back; trying again goes on"

    def __init__(self, extensions: Extensions, debts: FileDebts) -> None:
        self._extensions = extensions
        self._debts = debts

    async def do(self, given: RemoveContentInput) -> Nothing:
        """Collect what is owed, then have each plugin remove what it keeps there; a permissive one finds nothing of theirs."""
        storage = BackupStorageId(given.uuid)
        try:
            await self._debts.collect_from(storage)
        except CairnError as error:
            _log.warning("backup-storage.debts-not-collected", backup_storage=storage, error=str(error))
        if given.asked.delete_mode is DeleteMode.ENFORCING:
            keepers = self._extensions.of(BackupStorageContent)
            for index, keeper in enumerate(keepers):
                report_progress("", index / len(keepers))
                await keeper.remove_all(storage)
        return NOTHING
