"""Simulated backup storage: nothing to install, spoken to over plain HTTP on loopback."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from msgspec import Struct

from cairn.kernel.agent.client import AgentEndpoint
from cairn.kernel.api import Reference
from cairn.kernel.bus.bus import Bus
from cairn.kernel.error import not_found
from cairn.kernel.flow.engine import FlowEngine
from cairn.kernel.flow.step import NOTHING, Nothing, TransactionStep
from cairn.kernel.flow.workflow import Workflow
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.plugins.simulator.messages import AddSimulatorBackupStorage
from cairn.plugins.simulator.model import SimulatorBackupStorage
from cairn.services.backup_storage.extensions import connect_queue

TYPE = "SimulatorBackupStorage"
_FOLDER = "/var/lib/cairn-backup"


class SimulatorBackup:
    """Implements `BackupStorageDriver`."""

    def endpoint(self, tx: Tx, storage: str) -> AgentEndpoint:
        """Where the simulator plays it."""
        return AgentEndpoint(_existing(tx, storage).agent_url)

    def image_url(self, tx: Tx, storage: str, path: str) -> str:
        """Below the simulated agent, by the path relative to its folder."""
        return f"{_existing(tx, storage).agent_url}/v1/images/{quote(path.removeprefix(_FOLDER + '/'))}"

    async def deploy(self, storage: str) -> None:
        """The simulator is there already."""

    async def remove(self, storage: str) -> None:
        """There is nothing to take away."""

    def removed(self, tx: Tx, storage: str) -> None:
        """Nothing is kept elsewhere."""


def _existing(tx: Tx, storage: str) -> SimulatorBackupStorage:
    row = tx.get(SimulatorBackupStorage, storage)
    if row is None:
        raise not_found("backup-storage", "uuid", storage)
    return row


class RecordSimulatorBackupInput(Struct, frozen=True, kw_only=True):
    """Where it is played."""

    backup_storage_uuid: str
    agent_url: str


class RecordSimulatorBackup(TransactionStep[RecordSimulatorBackupInput, Nothing]):
    """Write down where it is played."""

    name = "simulator.record-backup-storage"
    title = "writing down where the simulator is"

    def do(self, tx: Tx, given: RecordSimulatorBackupInput) -> Nothing:
        """Insert."""
        tx.insert(SimulatorBackupStorage(uuid=given.backup_storage_uuid, agent_url=given.agent_url))
        return NOTHING

    def undo(self, tx: Tx, given: RecordSimulatorBackupInput, made: Nothing | None) -> None:
        """Strike it out."""
        tx.delete(SimulatorBackupStorage, given.backup_storage_uuid)


class AddSimulatorBackupParameters(Struct, frozen=True, kw_only=True):
    """A new simulated backup storage."""

    backup_storage_uuid: str
    backup_storage_type: str
    name: str
    description: str | None
    url: str
    agent_url: str
    system_tags: list[str]
    user_tags: list[str]


class AddSimulatorBackupAnswer(Struct, frozen=True, kw_only=True):
    """Which backup storage it is."""

    backup_storage_uuid: str


ADD_BACKUP = Workflow(
    name="simulator.add-backup-storage",
    parameters=AddSimulatorBackupParameters,
    answer=AddSimulatorBackupAnswer,
    doc="Adds a backup storage that the simulator plays.",
)


class SimulatorBackupService:
    """Answers the messages about simulated backup storage."""

    def __init__(self, bus: Bus, flows: Callable[[], FlowEngine], tags: Tags) -> None:
        self._flows = flows
        self._tags = tags
        bus.register(AddSimulatorBackupStorage, self.add)

    async def add(self, message: AddSimulatorBackupStorage) -> Reference:
        """Add a backup storage."""
        self._tags.check("BackupStorage", message.system_tags)
        assert message.resource_uuid is not None, "the gateway chooses the new backup storage's uuid"
        parameters = AddSimulatorBackupParameters(
            backup_storage_uuid=message.resource_uuid,
            backup_storage_type=TYPE,
            name=message.name,
            description=message.description,
            url=_FOLDER,
            agent_url=message.url,
            system_tags=list(message.system_tags),
            user_tags=list(message.user_tags),
        )
        queue = connect_queue(parameters.backup_storage_uuid)
        answer = await self._flows().run(ADD_BACKUP, parameters, queue=queue)
        return Reference(uuid=answer.backup_storage_uuid)
