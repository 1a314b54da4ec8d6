"""Taking a primary storage out of the cloud."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.kernel.api import DeleteMode
from cairn.kernel.cascade import Cascade
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.resource import EnabledState, existing
from cairn.kernel.store.store import Store, Tx
from cairn.services.primary_storage.extensions import PrimaryStorageDriver
from cairn.services.primary_storage.messages import DeletePrimaryStorage
from cairn.services.primary_storage.model import PrimaryStorage, PrimaryStorageClusterRef


class DeleteInput(Struct, frozen=True, kw_only=True):
    """The storage, and the call that says whether to enforce its removal."""

    uuid: str
    asked: DeletePrimaryStorage


class CloseOutput(Struct, frozen=True, kw_only=True):
    """The state that an undo puts back."""

    former_state: EnabledState


class Close(TransactionStep[DeleteInput, CloseOutput]):
    """Refuse while the storage is in use, unless all that is on it is to go; then let nothing new on it."""

    name = "primary-storage.close"
    title = "checking that nothing is left on it"

    def __init__(self, cascade: Cascade, extensions: Extensions) -> None:
        self._cascade = cascade
        self._extensions = extensions

    def do(self, tx: Tx, given: DeleteInput) -> CloseOutput:
        """Disable it. When enforcing, neither clusters nor what is on it keep it; but its driver must be there for the rest."""
        row = existing(tx, PrimaryStorage, given.uuid, lock=True)
        self._extensions.named(PrimaryStorageDriver, row.type)
        if given.asked.delete_mode is not DeleteMode.ENFORCING:
            _refuse_attached(tx, row)
            _refuse_used(tx, self._cascade, row, can_enforce=True)
        tx.update(PrimaryStorage, row.uuid, state=EnabledState.DISABLED)
        return CloseOutput(former_state=row.state)

    def undo(self, tx: Tx, given: DeleteInput, made: CloseOutput | None) -> None:
        """Put its former state back."""
        if made is not None:
            tx.update(PrimaryStorage, given.uuid, state=made.former_state)


class Clear(ActionStep[DeleteInput, Nothing]):
    """Have the storage's driver remove what is on it beside volumes."""

    name = "primary-storage.clear"
    title = "removing what is on the storage"
    nothing_to_undo: ClassVar[str | None] = "a cache that is gone is only fetched again"

    def __init__(self, store: Store, extensions: Extensions, cascade: Cascade) -> None:
        self._store = store
        self._extensions = extensions
        self._cascade = cascade

    async def do(self, given: DeleteInput) -> Nothing:
        """Look once more that nothing is on it that the caches are for; then remove them."""

        def fn(tx: Tx) -> PrimaryStorage:
            row = existing(tx, PrimaryStorage, given.uuid)
            _refuse_used(tx, self._cascade, row, can_enforce=given.asked.delete_mode is not DeleteMode.ENFORCING)
            return row

        storage = await self._store.read(fn)
        await self._extensions.named(PrimaryStorageDriver, storage.type).clear(storage.uuid)
        return NOTHING


def _refuse_attached(tx: Tx, row: PrimaryStorage) -> None:
    clusters = tx.count(PrimaryStorageClusterRef, primary_storage_uuid=row.uuid)
    if clusters:
        raise CairnError(
            "primary-storage.in-use",
            f"The primary storage {row.name} is attached to {clusters} cluster{'s' if clusters > 1 else ''}. Detach it "
            "first, or use deleteMode=Enforcing.",
            kind=ErrorKind.CONFLICT,
        )


def _refuse_used(tx: Tx, cascade: Cascade, row: PrimaryStorage, *, can_enforce: bool) -> None:
    cascade.refuse(tx, PrimaryStorage, row.uuid, noun="primary-storage", name=row.name, can_enforce=can_enforce)
