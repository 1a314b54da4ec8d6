"""Simulated backup storage: nothing is installed, and calls go over plain HTTP on loopback."""

from __future__ import annotations

from urllib.parse import quote

from cairn.kernel.agent.client import AgentEndpoint
from cairn.kernel.api import ApiCreate
from cairn.kernel.error import not_found
from cairn.kernel.flow.workflow import workflow
from cairn.kernel.store.store import Tx
from cairn.plugins.simulator.driver import NothingToDeploy
from cairn.plugins.simulator.messages import BACKUP_FOLDER, AddSimulatorBackupStorage
from cairn.plugins.simulator.model import SimulatorBackupStorage
from cairn.services.backup_storage.extensions import BackupStorageDriver

TYPE = "SimulatorBackupStorage"
ADD = workflow(AddSimulatorBackupStorage, queue="backup-storage")


class SimulatorBackup(NothingToDeploy, BackupStorageDriver):
    """The driver of backup storage that the simulator simulates."""

    def added(self, tx: Tx, uuid: str, asked: ApiCreate) -> None:
        """Write down the URL of the simulated agent."""
        assert isinstance(asked, AddSimulatorBackupStorage)
        tx.insert(SimulatorBackupStorage(uuid=uuid, agent_url=asked.url))

    def endpoint(self, tx: Tx, uuid: str) -> AgentEndpoint:
        """Read the URL of the simulated agent."""
        return AgentEndpoint(_existing(tx, uuid).agent_url)

    def image_url(self, tx: Tx, storage: str, path: str) -> str:
        """Make a URL below the simulated agent, of the path relative to its folder."""
        return f"{_existing(tx, storage).agent_url}/v1/images/{quote(path.removeprefix(BACKUP_FOLDER + '/'))}"


def _existing(tx: Tx, storage: str) -> SimulatorBackupStorage:
    row = tx.get(SimulatorBackupStorage, storage)
    if row is None:
        raise not_found("backup-storage", "uuid", storage)
    return row
