"""Two small nodes on one database, each with jobs, workflows and a desk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar, cast

import msgspec
from tests.unit.kernel.flow.world import Answer, Effect, Parameters, World, flow

from cairn.kernel.api import ApiCommand, Reference
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.transport import MemoryNetwork
from cairn.kernel.desk import JobDesk
from cairn.kernel.flow.engine import FlowEngine
from cairn.kernel.flow.journal import FlowRun
from cairn.kernel.ids import JobId, NodeId, RandomIds
from cairn.kernel.job import Job
from cairn.kernel.jobs import Jobs
from cairn.kernel.membership import RECORDS, Membership
from cairn.kernel.metrics import Metrics
from cairn.kernel.queue import queue_key
from cairn.kernel.resource import Resource
from cairn.kernel.ring import Ring
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store, Tx
from cairn.kernel.takeover import ROUND_SECONDS, Takeover
from cairn.testing.clock import VirtualClock

PLANS = {"test.flow": ["t1", "a2", "a3", "t4"]}
NAMES = [NodeId("a" * 32), NodeId("b" * 32)]


class Change(ApiCommand[Reference], frozen=True, kw_only=True, tag="two.change"):
    """Work on a thing."""

    route: ClassVar[str | None] = "thing"

    thing: str


class SmallNode:
    """One of the two."""

    def __init__(self, name: NodeId, store: Store, clock: VirtualClock, network: MemoryNetwork) -> None:
        self.name = name
        self.clock = clock
        self.network = network
        self.calls: list[str] = []
        self.world = World(store, clock)
        self.ring, metrics = Ring(), Metrics()
        self.bus = Bus(
            name,
            self.ring,
            network.transport(name),
            clock,
            metrics,
            RandomIds(seed=ord(name[0])),
            incarnation=lambda: self.membership.joined,
        )
        self.membership = Membership(
            store, self.ring, clock, name, host_name="127.0.0.1", port=1, on_fenced=lambda error: None
        )
        self.world.ids = RandomIds(seed=ord(name[0]) + 100)
        self.world.owners = self.membership  # type: ignore[assignment]
        self.handler: Callable[[Change], Awaitable[Reference]] = self.by_flow
        self.jobs = Jobs(
            store=store,
            bus=self.bus,
            clock=clock,
            metrics=metrics,
            render=_render,
            queues=self.world.queues,
            parallelism=lambda: 10,
            owners=self.membership,
            retention_seconds=lambda: 3600.0,
        )
        self.desk = JobDesk(jobs=self.jobs, store=store, bus=self.bus, clock=clock, owners=self.membership)
        self.flows: FlowEngine = self.world.engine(PLANS, finish=self.jobs.finish)
        self.jobs.attach(self.flows)
        self.takeover = Takeover(
            store=store, bus=self.bus, ring=self.ring, owners=self.membership, jobs=self.jobs, flows=self.flows
        )
        self.membership.survey_by(self.takeover.survey)
        self.bus.register(Change, self._handle)
        self._rounds: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.bus.start()
        await self.membership.start()
        await self.takeover.start()
        self._rounds = asyncio.create_task(self._round())

    async def _round(self) -> None:
        while True:
            await self.clock.sleep(ROUND_SECONDS)
            await self.takeover.round()

    async def kill(self) -> None:
        """Drop everything where it stands."""
        self.membership.drop()
        self.network.detach(self.name)
        if self._rounds is not None:
            self._rounds.cancel()
        await self.desk.stop()
        await self.jobs.stop()

    async def _handle(self, message: Change) -> Reference:
        self.calls.append(message.thing)
        return await self.handler(message)

    async def by_flow(self, message: Change) -> Reference:
        await self.flows.run(flow("test.flow"), Parameters(thing="x"), queue=queue_key("two", message.thing))
        return Reference(uuid=message.thing)

    async def by_commit(self, message: Change) -> Reference:
        def fn(tx: Tx) -> Reference:
            tx.insert(Effect(step=message.thing))
            return Reference(uuid=message.thing)

        return await self.jobs.commit(fn)


def _render(tx: Tx, message: ApiCommand[object], answer: object) -> bytes:
    return msgspec.json.encode(answer)


class Two:
    """Both of them."""

    def __init__(self, store: Store, clock: VirtualClock, nodes: Sequence[SmallNode]) -> None:
        self.store = store
        self.clock = clock
        self.a, self.b = nodes

    def thing_of(self, node: SmallNode) -> str:
        """A key that belongs to a node, once both are there."""
        ring = Ring()
        ring.set_members(NAMES, 1)
        return next(thing for thing in map(str, range(1000)) if ring.node_of(thing) == node.name)

    async def submit(self, node: SmallNode, thing: str, number: int = 1) -> bool:
        work = node.desk.submit(job_id(number), change(thing), actor="alice", timeout_seconds=600.0)
        return await self.clock.run(work)

    async def row(self, number: int = 1) -> Job:
        row = await self.store.read(lambda tx: tx.get(Job, job_id(number)))
        assert row is not None
        return row

    async def runs(self) -> list[FlowRun]:
        return await self.store.read(lambda tx: tx.find(FlowRun))


def change(thing: str) -> ApiCommand[object]:
    return cast("ApiCommand[object]", Change(thing=thing))


def job_id(number: int) -> JobId:
    return JobId(f"{number:032x}")


@asynccontextmanager
async def two_nodes() -> AsyncIterator[Two]:
    """Two nodes that know each other."""
    clock = VirtualClock()
    store = await Store.memory(Schema([Job, FlowRun, Resource, Effect, Answer, *RECORDS]), clock, inline=True)
    network = MemoryNetwork(clock)
    two = Two(store, clock, [SmallNode(name, store, clock, network) for name in NAMES])
    for node in (two.a, two.b):
        await clock.run(node.start())
    await clock.advance(2)
    try:
        yield two
    finally:
        for node in (two.a, two.b):
            await node.kill()
            await node.bus.stop()
        await store.close()
