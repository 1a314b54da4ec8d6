"""Simulated machines as a kind of host: nothing to install, spoken to over plain HTTP on loopback."""

from __future__ import annotations

from cairn.kernel.agent.client import AgentEndpoint
from cairn.kernel.api import ApiCreate
from cairn.kernel.error import not_found
from cairn.kernel.flow.workflow import workflow
from cairn.kernel.machine.kind import MachineDriver
from cairn.kernel.resource import taken
from cairn.kernel.store.store import Tx
from cairn.plugins.simulator.messages import AddSimulatorHost
from cairn.plugins.simulator.model import SimulatorHost
from cairn.services.host.extensions import Hypervisor

TYPE = "Simulator"
ADD = workflow(AddSimulatorHost, queue="host-connect")


class NothingToDeploy(MachineDriver):
    """What drivers of simulated machines share."""

    async def deploy(self, uuid: str) -> None:
        """The simulator is there already."""

    async def remove(self, uuid: str) -> None:
        """There is nothing to take away."""

    def removed(self, tx: Tx, uuid: str) -> None:
        """Nothing is kept elsewhere."""


class SimulatorHypervisor(NothingToDeploy, Hypervisor):
    """Hosts that the simulator plays."""

    def added(self, tx: Tx, uuid: str, asked: ApiCreate) -> None:
        """Write down where it is played."""
        tx.insert(taken(SimulatorHost, asked, uuid=uuid))

    def endpoint(self, tx: Tx, uuid: str) -> AgentEndpoint:
        """Where the simulator plays the host."""
        row = tx.get(SimulatorHost, uuid)
        if row is None:
            raise not_found("host", "uuid", uuid)
        return AgentEndpoint(row.url)
