"""Simulated machines as a kind of host: nothing is installed, and calls go over plain HTTP on loopback."""

from __future__ import annotations

from cairn.kernel.agent.client import AgentEndpoint
from cairn.kernel.api import ApiCreate
from cairn.kernel.deploy.installer import Identified
from cairn.kernel.error import not_found
from cairn.kernel.flow.workflow import workflow
from cairn.kernel.machine.kind import MachineDriver
from cairn.kernel.resource import taken
from cairn.kernel.store.store import Tx
from cairn.plugins.simulator.messages import AddSimulatorHost
from cairn.plugins.simulator.model import SimulatorHost
from cairn.services.host.extensions import Hypervisor

TYPE = "Simulator"
ADD = workflow(AddSimulatorHost, queue="host")


class NothingToDeploy(MachineDriver):
    """The base of drivers of simulated machines."""

    async def identify(self, uuid: str) -> Identified | None:
        """Leave it to its agent, which is there already."""
        return None

    def deployment(self, tx: Tx, uuid: str) -> str:
        """Only the version counts: nothing is put there."""
        return ""

    async def look_again(self) -> None:
        """Do nothing: nothing is put there."""

    async def deploy(self, uuid: str) -> None:
        """Do nothing: the simulator is there already."""

    async def remove(self, uuid: str) -> None:
        """Do nothing: no agent was installed."""

    def removed(self, tx: Tx, uuid: str) -> None:
        """Do nothing: all that is known of it is in its rows."""


class SimulatorHypervisor(NothingToDeploy, Hypervisor):
    """The driver of hosts that the simulator simulates."""

    def added(self, tx: Tx, uuid: str, asked: ApiCreate) -> None:
        """Write down the URL of the simulated agent."""
        tx.insert(taken(SimulatorHost, asked, uuid=uuid))

    def endpoint(self, tx: Tx, uuid: str) -> AgentEndpoint:
        """Read the URL of the simulated agent."""
        row = tx.get(SimulatorHost, uuid)
        if row is None:
            raise not_found("host", "uuid", uuid)
        return AgentEndpoint(row.url)
