"""Simulated machines as a kind of host: nothing to install, spoken to over plain HTTP on loopback."""

from __future__ import annotations

from collections.abc import Callable

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
from cairn.plugins.simulator.messages import AddSimulatorHost
from cairn.plugins.simulator.model import SimulatorHost

TYPE = "Simulator"


class SimulatorHypervisor:
    """Implements `Hypervisor` and `HostRemoval`."""

    def endpoint(self, tx: Tx, host: str) -> AgentEndpoint:
        """Where the simulator plays the host."""
        row = tx.get(SimulatorHost, host)
        if row is None:
            raise not_found("host", "uuid", host)
        return AgentEndpoint(row.url)

    async def deploy(self, host: str) -> None:
        """The simulator is there already."""

    async def remove(self, host: str) -> None:
        """There is nothing to take away."""

    def why_not_remove(self, tx: Tx, host: str) -> str | None:
        """Nothing of this plugin keeps a host."""
        return None

    def host_removed(self, tx: Tx, host: str) -> None:
        """The address goes with the host."""
        tx.delete(SimulatorHost, host)


class RecordSimulatorInput(Struct, frozen=True, kw_only=True):
    """Where it is played."""

    host_uuid: str
    url: str


class RecordSimulator(TransactionStep[RecordSimulatorInput, Nothing]):
    """Write down where the host is played."""

    name = "simulator.record-host"
    title = "writing down where the simulator is"

    def do(self, tx: Tx, given: RecordSimulatorInput) -> Nothing:
        """Insert."""
        tx.insert(SimulatorHost(uuid=given.host_uuid, url=given.url))
        return NOTHING

    def undo(self, tx: Tx, given: RecordSimulatorInput, made: Nothing | None) -> None:
        """Strike it out."""
        tx.delete(SimulatorHost, given.host_uuid)


class AddSimulatorParameters(Struct, frozen=True, kw_only=True):
    """A new simulated host."""

    host_uuid: str
    name: str
    description: str | None
    management_ip: str
    cluster_uuid: str
    hypervisor_type: str
    url: str
    system_tags: list[str]
    user_tags: list[str]


class AddSimulatorAnswer(Struct, frozen=True, kw_only=True):
    """Which host it is."""

    host_uuid: str


ADD = Workflow(
    name="simulator.add-host",
    parameters=AddSimulatorParameters,
    answer=AddSimulatorAnswer,
    doc="Adds a host that the simulator plays.",
)


class SimulatorService:
    """Answers the messages about simulated hosts."""

    def __init__(self, bus: Bus, flows: Callable[[], FlowEngine], tags: Tags) -> None:
        self._flows = flows
        self._tags = tags
        bus.register(AddSimulatorHost, self.add)

    async def add(self, message: AddSimulatorHost) -> Reference:
        """Add a host."""
        self._tags.check("Host", message.system_tags)
        assert message.resource_uuid is not None, "the gateway chooses the new host's uuid"
        parameters = AddSimulatorParameters(
            host_uuid=message.resource_uuid,
            name=message.name,
            description=message.description,
            management_ip=message.management_ip,
            cluster_uuid=message.cluster_uuid,
            hypervisor_type=TYPE,
            url=message.url,
            system_tags=list(message.system_tags),
            user_tags=list(message.user_tags),
        )
        queue = f"host-connect:{parameters.host_uuid}"
        answer = await self._flows().run(ADD, parameters, queue=queue)
        return Reference(uuid=answer.host_uuid)
