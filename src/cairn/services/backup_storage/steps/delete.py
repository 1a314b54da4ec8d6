"""Taking a backup storage out of the cloud: removing its content."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.kernel.api import ApiDelete, DeleteMode
from cairn.kernel.flow.engine import report_progress
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing
from cairn.kernel.plugin.extension import Extensions
from cairn.services.backup_storage.extensions import BackupStorageContent
from cairn.services.ids import BackupStorageId


class RemoveContentInput(Struct, frozen=True, kw_only=True):
    """The backup storage, and the call with its deletion mode."""

    uuid: str
    asked: ApiDelete


class RemoveContent(ActionStep[RemoveContentInput, Nothing]):
    """Remove all that is on the backup storage, if the call says to enforce."""

    name = "backup-storage.remove-content"
    title = "removing what is on the backup storage"
    nothing_to_undo: ClassVar[str | None] = "what is removed cannot be brought back; trying again goes on"

    def __init__(self, extensions: Extensions) -> None:
        self._extensions = extensions

    async def do(self, given: RemoveContentInput) -> Nothing:
        """Have each plugin remove what it keeps there; a permissive deletion finds nothing at this point."""
        if given.asked.delete_mode is DeleteMode.ENFORCING:
            keepers = self._extensions.of(BackupStorageContent)
            for index, keeper in enumerate(keepers):
                report_progress("", index / len(keepers))
                await keeper.remove_all(BackupStorageId(given.uuid))
        return NOTHING
