"""All kinds of machines of a node, by the entities that messages name."""

from __future__ import annotations

import msgspec

from cairn.kernel.api import ApiChange, ApiCreate, ApiDelete
from cairn.kernel.bus.handlers import handles
from cairn.kernel.machine.calls import AgentAnswer, CallAgent, unpacked
from cairn.kernel.machine.client import MachineClient
from cairn.kernel.machine.kind import AnyKind
from cairn.kernel.machine.monitor import MachineMonitor
from cairn.kernel.machine.upkeep import Upkeep
from cairn.kernel.plugin.context import NodeContext
from cairn.kernel.store.record import Record


class Machines:
    """The clients of all kinds of machines, for steps that serve all kinds."""

    def __init__(self) -> None:
        self._clients: dict[str, MachineClient] = {}

    def register(self, client: MachineClient) -> None:
        """Add the client of a kind, under the kind's entity."""
        self._clients[client.kind.record.meta.entity] = client

    @handles(CallAgent)
    async def call(self, message: CallAgent) -> AgentAnswer:
        """Have a machine's agent do something, for another node."""
        client = self._clients.get(message.entity)
        assert client is not None, f"no kind of machine has the entity {message.entity}"
        command = unpacked(message)
        answer = await client.call(message.machine, command, timeout_seconds=message.timeout_seconds, idle=message.idle)
        return AgentAnswer(body=msgspec.json.encode(answer))

    @property
    def clients(self) -> list[MachineClient]:
        """The clients of all kinds."""
        return list(self._clients.values())

    def of(self, asked: ApiCreate | ApiChange | ApiDelete) -> MachineClient:
        """Find the client of the kind that a message is about, by the message's `entity`."""
        assert asked.entity in self._clients, f"{type(asked).__name__} is not about a kind of machine: {asked.entity}"
        return self._clients[asked.entity]


def _extends(node: NodeContext, record: type[Record], kind: AnyKind) -> bool:
    assert record.meta.extends is not None, "only subtypes are asked about"
    return node.store.schema.resolve(record, record.meta.extends.parent).record is kind.record


def _changed(node: NodeContext, kind: AnyKind) -> None:
    for idle in (False, True):
        node.queues.changed(kind.agent_queue("", idle=idle))


def add_kind(node: NodeContext, kind: AnyKind) -> MachineClient:
    """Have machines of a kind called and watched. For a service's `build`."""
    client = MachineClient(kind, node.bus, node.store, node.agents, node.queues, node.config, node.clock)
    node.need(Machines).register(client)
    node.invalidation.on(kind.record, client.reread)
    for record in node.store.schema.records:
        if record.meta.extends is not None and record.meta.remembered and _extends(node, record, kind):
            node.invalidation.on(record, client.reread)
    node.config.listen(kind.settings.parallelism, lambda: _changed(node, kind))
    node.background.append(
        MachineMonitor(
            client=client,
            node=node.node,
            store=node.store,
            bus=node.bus,
            ring=node.ring,
            clock=node.clock,
            settings=node.config,
            loops=node.loops,
            metrics=node.metrics,
        )
    )
    node.background.append(
        Upkeep(client=client, bus=node.bus, authority=node.authority, settings=node.config, clock=node.clock)
    )
    return client
