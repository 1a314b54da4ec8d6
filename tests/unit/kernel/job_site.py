"""A node with a job desk and one handler, for tests of jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, ClassVar, cast

import msgspec
from tests.unit.kernel.flow.world import ACTOR, Answer, Effect, Parameters, Watch, World, flow

from cairn.kernel.api import ApiCommand, ApiCreate, Reference, Secret, action, post
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.transport import NoTransport
from cairn.kernel.desk import JobDesk
from cairn.kernel.flow.engine import FlowEngine
from cairn.kernel.flow.journal import FlowRun
from cairn.kernel.ids import JobId, RandomIds
from cairn.kernel.job import Job
from cairn.kernel.jobs import Jobs
from cairn.kernel.limits import BACKLOG
from cairn.kernel.metrics import Metrics
from cairn.kernel.ring import Ring
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store, Tx
from cairn.kernel.takeover import Takeover
from cairn.testing.clock import VirtualClock

Handler = Callable[["Do"], Awaitable[object]]
PLANS = {"test.flow": ["t1", "a2", "a3"]}


class Do(ApiCommand[Reference], frozen=True, kw_only=True, tag="test-jobs.do"):
    """Does something."""

    http: ClassVar = action("/things/{uuid}/actions", "do")
    route: ClassVar[str | None] = "uuid"
    uuid: str
    password: Annotated[str, Secret()] = ""


class Make(ApiCreate, frozen=True, kw_only=True, tag="test-jobs.make"):
    """Makes something."""

    http: ClassVar = post("/things")


def job_id(number: int = 1) -> JobId:
    return JobId(f"{number:032x}")


def do(thing: str, password: str = "") -> ApiCommand[object]:
    return cast("ApiCommand[object]", Do(uuid=thing, password=password))


class Site:
    """A node with a job desk and one handler. `restart` gives it another life on the same database."""

    def __init__(self, store: Store, clock: VirtualClock) -> None:
        self.store = store
        self.clock = clock
        self.world = World(store, clock)
        self.limit = 10
        self.backlog = 100
        self.handler: Handler = self.answer
        self.calls: list[str] = []
        self.lives = 0
        self.restart()

    def restart(self, probe: Watch | None = None) -> None:
        self.lives += 1
        owners = self.world.owners
        owners.joined = self.lives  # what was taken before is of a former process
        ring = Ring()
        ring.set_members([owners.node], self.lives)
        self.bus = Bus(owners.node, ring, NoTransport(), self.clock, Metrics(), RandomIds(seed=1))
        self.bus.register(Do, self._handle)
        self.metrics = Metrics()
        self.bus.register(Make, self._make)
        self.jobs = Jobs(
            store=self.store,
            bus=self.bus,
            clock=self.clock,
            metrics=self.metrics,
            render=render,
            queues=self.world.queues,
            parallelism=lambda: self.limit,
            owners=self.world.owners,
            retention_seconds=lambda: 3600.0,
            setting=lambda setting: self.backlog if setting is BACKLOG else setting.default,
        )
        self.desk = JobDesk(jobs=self.jobs, store=self.store, bus=self.bus, clock=self.clock, owners=self.world.owners)
        self.flows: FlowEngine = self.world.engine(PLANS, probe, finish=self.jobs.finish)
        self.jobs.attach(self.flows)
        self.takeover = Takeover(
            store=self.store, bus=self.bus, ring=ring, owners=owners, jobs=self.jobs, flows=self.flows
        )

    async def _handle(self, message: Do) -> object:
        self.calls.append(message.uuid)
        return await self.handler(message)

    async def _make(self, message: Make) -> Reference:
        self.calls.append("make")
        await self.handler(do(message.resource_uuid or ""))  # type: ignore[arg-type]
        return Reference(uuid=message.resource_uuid or "")

    async def answer(self, message: Do) -> Reference:
        return Reference(uuid=message.uuid)

    async def by_commit(self, message: Do) -> Reference:
        def fn(tx: Tx) -> Reference:
            tx.insert(Effect(step=message.uuid))
            return Reference(uuid=message.uuid)

        return await self.jobs.commit(fn)

    async def by_flow(self, message: Do) -> Reference:
        answer = await self.flows.run(flow(), Parameters(thing=message.uuid), queue=f"thing:{message.uuid}")
        return Reference(uuid=answer.thing)

    async def submit(self, number: int = 1, thing: str = "x", timeout_seconds: float = 100.0) -> bool:
        return await self.jobs.submit(job_id(number), do(thing), actor=ACTOR, timeout_seconds=timeout_seconds)

    async def look(self, number: int = 1) -> Job:
        await self.clock.settle()
        return await self.desk.look(job_id(number))

    async def row(self, number: int = 1) -> Job:
        row = await self.store.read(lambda tx: tx.get(Job, job_id(number)))
        assert row is not None
        return row


def render(tx: Tx, message: ApiCommand[object], answer: object) -> bytes:
    assert isinstance(answer, Reference | Parameters)
    return msgspec.json.encode({"answer": answer, "effects": tx.count(Effect)})


def gate_handler(gate: asyncio.Event) -> Handler:
    async def handler(message: Do) -> Reference:
        await gate.wait()
        return Reference(uuid=message.uuid)

    return handler


@asynccontextmanager
async def opened() -> AsyncIterator[Site]:
    """A node with an empty database, stopped on leaving."""
    clock = VirtualClock()
    store = await Store.memory(Schema([Job, FlowRun, Effect, Answer]), clock, inline=True)
    site = Site(store, clock)
    yield site
    await site.jobs.stop()
    await store.close()
