"""Adding and connecting a backup storage.

A plugin's workflow that adds a kind of its own lists ``backup-storage.record``, ``machine.identify``,
``machine.record-identity``, ``machine.deploy``, ``backup-storage.connect`` and ``backup-storage.finish-connect``.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.agents.protocol.storage import Capacity, InitStorage
from cairn.kernel.api import ApiChange, ApiCreate
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.machine.client import MachineClient
from cairn.kernel.machine.model import AgentSeen
from cairn.kernel.machine.steps import accepts
from cairn.kernel.resource import existing, new
from cairn.kernel.store.store import Store, Tx
from cairn.kernel.tag import Tags
from cairn.services.backup_storage.debts import FileDebts
from cairn.services.backup_storage.kind import BackupStorageKind
from cairn.services.backup_storage.messages import AddBackupStorage
from cairn.services.backup_storage.model import BackupStorage
from cairn.services.ids import BackupStorageId


class RecordBackupStorageInput(Struct, frozen=True, kw_only=True):
    """The new backup storage's uuid, and the call that adds it."""

    uuid: str
    asked: AddBackupStorage


class RecordBackupStorage(TransactionStep[RecordBackupStorageInput, Nothing]):
    """Write the new backup storage down, as Connecting."""

    name = "backup-storage.record"
    title = "writing the backup storage down"
    undone_last: ClassVar[bool] = True

    def __init__(self, kind: BackupStorageKind, tags: Tags) -> None:
        self._kind = kind
        self._tags = tags

    def do(self, tx: Tx, given: RecordBackupStorageInput) -> Nothing:
        """Insert its row and its tags; its driver writes the values that only its type has."""
        asked = given.asked
        row = new(tx, BackupStorage, asked, type=asked.storage_type, url=asked.folder)
        self._kind.add(tx, self._tags, asked, row)
        return NOTHING

    def undo(self, tx: Tx, given: RecordBackupStorageInput, made: Nothing | None) -> None:
        """Erase its rows: the backup storage was never added."""
        self._kind.erase(tx, given.uuid)


class ConnectInput(Struct, frozen=True, kw_only=True):
    """The backup storage to connect to, and the call that does so."""

    uuid: str
    asked: ApiCreate | ApiChange


class ConnectOutput(Struct, frozen=True, kw_only=True):
    """The capacity that the agent told, and what it told of itself."""

    capacity: Capacity
    agent: AgentSeen


class ConnectBackupStorage(ActionStep[ConnectInput, ConnectOutput]):
    """Have the agent prepare the folder that images are kept in."""

    name = "backup-storage.connect"
    title = "connecting to the backup storage"
    nothing_to_undo: ClassVar[str | None] = "an empty folder does no harm; one with images in it is to stay"

    def __init__(self, agents: MachineClient, store: Store) -> None:
        self._agents = agents
        self._store = store

    async def do(self, given: ConnectInput) -> ConnectOutput:
        """Have the folder made, unless it is there already."""
        row = await self._store.look(lambda tx: existing(tx, BackupStorage, given.uuid))
        init = InitStorage(path=row.url)
        capacity, agent = await self._agents.connect(row.uuid, init, accept=accepts(given.asked))
        return ConnectOutput(capacity=capacity, agent=agent)


class FinishConnectInput(Struct, frozen=True, kw_only=True):
    """The backup storage, with the agent's answer."""

    uuid: str
    capacity: Capacity
    agent: AgentSeen
    deploy_warning: str | None = None


class FinishConnect(TransactionStep[FinishConnectInput, Nothing]):
    """Write the capacity down; images may be kept there from here on."""

    name = "backup-storage.finish-connect"
    title = "writing the backup storage's capacity down"

    def __init__(self, kind: BackupStorageKind, debts: FileDebts) -> None:
        self._kind = kind
        self._debts = debts

    def do(self, tx: Tx, given: FinishConnectInput) -> Nothing:
        """Change its status in the same transaction; what its machine owes is collected behind it."""
        self._kind.connected(
            tx,
            given.uuid,
            given.agent,
            given.deploy_warning,
            total_capacity=given.capacity.total_bytes,
            available_capacity=given.capacity.available_bytes,
        )
        self._debts.connected(tx, BackupStorageId(given.uuid))
        return NOTHING

    def undo(self, tx: Tx, given: FinishConnectInput, made: Nothing | None) -> None:
        """Note that the backup storage is not connected after all."""
        self._kind.failed(tx, given.uuid)
