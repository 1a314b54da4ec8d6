"""A small world for workflows: steps that leave effects, which a test lets fail, and a journal that survives engines."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, ClassVar, TypeVar, cast

from msgspec import Struct, defstruct

from cairn.kernel.bus.context import CallContext, entered
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.engine import Finisher, FlowEngine, FlowProbe
from cairn.kernel.flow.journal import FlowRun
from cairn.kernel.flow.step import ActionStep, AnyStep, TransactionStep
from cairn.kernel.flow.workflow import Workflow, WorkflowBook, WorkflowSource
from cairn.kernel.ids import JobId, NodeId, RandomIds
from cairn.kernel.metrics import Metrics
from cairn.kernel.queue import ResourceQueues
from cairn.kernel.store.record import Key, Record, TableMeta
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store, Tx
from cairn.testing.clock import VirtualClock
from cairn.testing.owner import SoleOwner

T = TypeVar("T")
JOB = JobId("0" * 31 + "1")
ACTOR = "0" * 31 + "a"
RETRY_SECONDS = 60.0


class Effect(Record, frozen=True, kw_only=True):
    """What a transaction step leaves."""

    meta: ClassVar[TableMeta] = TableMeta(table="effect")

    step: Annotated[str, Key()]


class Answer(Record, frozen=True, kw_only=True):
    """A job's end; there can be one."""

    meta: ClassVar[TableMeta] = TableMeta(table="answer")

    job: Annotated[str, Key()]
    thing: str


PLAN = ["t1", "t2", "a3", "t4", "a5", "t6"]


class Parameters(Struct, frozen=True, kw_only=True):
    thing: str


class Crash(BaseException):
    """The process dies here."""


def refusal(what: str) -> CairnError:
    return CairnError("test.refused", f"{what} does not work. Try another day.", kind=ErrorKind.CONFLICT)


class Watch(FlowProbe):
    """Counts journal writes, and crashes at one of them."""

    def __init__(self, crash_at: int | None = None) -> None:
        self.journals = 0
        self.crash_at = crash_at
        self.crashed = False

    def journal(self, workflow: str, moment: str) -> None:
        at, self.journals = self.journals, self.journals + 1
        if at == self.crash_at:
            self.crashed = True
            raise Crash


class World:
    """Effects, and what goes wrong. Engines come and go; this stays."""

    def __init__(self, store: Store, clock: VirtualClock) -> None:
        self.store = store
        self.clock = clock
        self.ids = RandomIds(seed=7)
        self.queues = ResourceQueues(clock, Metrics())
        self.outside: set[str] = set()  #: effects of action steps
        self.story: list[str] = []  #: what was called, in order
        self.made: dict[str, object] = {}  #: what each undo was told of the step's output
        self.bad_do: set[str] = set()
        self.bad_late: set[str] = set()  #: actions that fail after they did their work
        self.bad_undo: Counter[str] = Counter()  #: how often the undo fails yet
        self.gates: dict[str, asyncio.Event] = {}  #: actions and undos that wait: ``a1``, ``undo a1``
        self.hooks: dict[str, Callable[[], object]] = {}
        self.fenced = False
        self.owners = SoleOwner(check=self._check)
        self.engines: list[FlowEngine] = []
        self.inner: FlowEngine | None = None

    def engine(
        self, plans: Mapping[str, Sequence[str]], probe: FlowProbe | None = None, *, finish: Finisher | None = None
    ) -> FlowEngine:
        """An engine whose workflows have these steps: names begin with t (transaction), a (action), n (nested) or
        q (an action that leaves nothing to undo)."""
        names = sorted({name for steps in plans.values() for name in steps})
        text = "\n".join(f'[workflow."{name}"]\nsteps = {list(steps)!r}' for name, steps in plans.items())
        engine = FlowEngine(
            store=self.store,
            book=WorkflowBook(
                [flow(name) for name in plans],
                [step_of(self, name) for name in names],
                [WorkflowSource(name="test.toml", text=text)],
            ),
            clock=self.clock,
            ids=self.ids,
            queues=self.queues,
            finish=finish or _finish,
            owners=self.owners,
            retry_seconds=lambda: RETRY_SECONDS,
            probe=probe,
        )
        self.engines.append(engine)
        self.inner = engine
        return engine

    def _check(self) -> None:
        if self.fenced:
            raise CairnError("node.fenced", "This node is no member.", kind=ErrorKind.UNAVAILABLE)

    def fence(self) -> None:
        """From now on all runs are another node's, and this one may begin nothing."""
        self.fenced = True
        self._pass(self.owners.node, NodeId("other"))

    def unfence(self) -> None:
        """All is this node's again."""
        self.fenced = False
        self._pass(NodeId("other"), self.owners.node)

    def _pass(self, source: NodeId, target: NodeId) -> None:
        work = self.store.write(lambda tx: tx.update_where(FlowRun, {"node_uuid": source}, node_uuid=target))
        with suppress(StopIteration):
            work.send(None)  # the store is inline: nothing is awaited

    async def run(self, engine: FlowEngine, name: str = "test.flow", **more: object) -> Parameters:
        """Run a workflow as a job's handler does."""
        with as_handler():
            work = engine.run(flow(name), Parameters(thing="x"), **more)  # type: ignore[arg-type]
            return await self.clock.run(work)

    def start(self, engine: FlowEngine, name: str = "test.flow", **more: object) -> asyncio.Task[Parameters]:
        with as_handler():
            work = engine.run(flow(name), Parameters(thing="x"), **more)  # type: ignore[arg-type]
            return asyncio.get_running_loop().create_task(work)

    async def rows(self) -> list[FlowRun]:
        return await self.store.read(lambda tx: tx.find(FlowRun))

    async def effects(self) -> set[str]:
        """All there are."""
        return self.outside | {row.step for row in await self.store.read(lambda tx: tx.find(Effect))}

    async def answered(self) -> bool:
        return bool(await self.store.read(lambda tx: tx.count(Answer)))

    async def wait_at(self, gate: str) -> asyncio.Event:
        """Let things run until something waits at `gate`."""
        await self.clock.settle()
        assert f"at {gate}" in self.story
        return self.gates[gate]

    async def pass_gate(self, name: str) -> None:
        gate = self.gates.get(name)
        if gate is not None:
            self.story.append(f"at {name}")
            await gate.wait()

    def hook(self, name: str) -> None:
        if name in self.hooks:
            self.hooks[name]()

    def check_undo(self, name: str) -> None:
        if self.bad_undo[name] > 0:
            self.bad_undo[name] -= 1
            raise refusal(f"undo of {name}")


def as_handler() -> entered:
    """As if a job's own handler ran."""
    return entered(CallContext(job=JOB, stack=("test.call",), deadline=None, actor=ACTOR))


def flow(name: str = "test.flow") -> Workflow[Parameters, Parameters]:
    return Workflow(name=name, parameters=Parameters, answer=Parameters, doc="Does things.")


def _finish(tx: Tx, job: JobId, answer: object) -> None:
    tx.insert(Answer(job=job, thing=cast("Parameters", answer).thing))


class Base:
    name: ClassVar[str] = "base"

    def __init__(self, world: World) -> None:
        self.world = world

    def output_value(self) -> Struct:
        kind = cast("type[Struct]", self.output)  # type: ignore[attr-defined]
        return kind(**{self.name: f"made by {self.name}"})


class Noting(Base, TransactionStep[Parameters, Struct]):
    name = "t"
    title = "noting"

    def do(self, tx: Tx, given: Parameters) -> Struct:
        self.world.story.append(f"do {self.name}")
        if "_" not in self.name or tx.get(Effect, self.name) is None:  # an inner workflow may be run twice
            tx.insert(Effect(step=self.name))
        if self.name in self.world.bad_do:
            raise refusal(self.name)
        return self.output_value()

    def undo(self, tx: Tx, given: Parameters, made: Struct | None) -> None:
        self.world.story.append(f"undo {self.name}")
        self.world.made[self.name] = made
        self.world.hook(f"undo {self.name}")
        tx.delete(Effect, self.name)
        self.world.check_undo(self.name)


class Acting(Base, ActionStep[Parameters, Struct]):
    name = "a"
    title = "acting"

    async def do(self, given: Parameters) -> Struct:
        self.world.story.append(f"do {self.name}")
        if self.name in self.world.bad_do:
            raise refusal(self.name)
        self.world.hook(self.name)
        await self.world.pass_gate(self.name)
        self.world.outside.add(self.name)
        if self.name in self.world.bad_late:
            raise refusal(self.name)
        return self.output_value()

    async def undo(self, given: Parameters, made: Struct | None) -> None:
        self.world.story.append(f"undo {self.name}")
        self.world.made[self.name] = made
        await self.world.pass_gate(f"undo {self.name}")
        self.world.hook(f"undo {self.name}")
        self.world.check_undo(self.name)
        self.world.outside.discard(self.name)


class Nesting(Base, ActionStep[Parameters, Struct]):
    """Runs the workflow ``inner.<name>``. Taking it back is deleting, as services do."""

    name = "n"
    title = "having others act"

    async def do(self, given: Parameters) -> Struct:
        self.world.story.append(f"do {self.name}")
        assert self.world.inner is not None
        await self.world.inner.run(flow(f"inner.{self.name}"), given, queue=f"inner:{self.name}")
        return self.output_value()

    async def undo(self, given: Parameters, made: Struct | None) -> None:
        self.world.story.append(f"undo {self.name}")
        self.world.check_undo(self.name)
        self.world.outside.discard(f"a_{self.name}")
        await self.world.store.write(lambda tx: tx.delete(Effect, f"t_{self.name}"))


class Looking(Base, ActionStep[Parameters, Struct]):
    """Leaves nothing to undo."""

    name = "q"
    title = "looking"
    nothing_to_undo: ClassVar[str | None] = "it only looks"

    async def do(self, given: Parameters) -> Struct:
        self.world.story.append(f"do {self.name}")
        await self.world.pass_gate(self.name)
        return self.output_value()


_STEPS: dict[str, type[Base]] = {"t": Noting, "a": Acting, "n": Nesting, "q": Looking}


def step_of(world: World, name: str) -> AnyStep:
    output = defstruct(f"Made_{name}", [(name, str)], frozen=True, kw_only=True)
    base = _STEPS[name[0]]
    kind = type(name, (base,), {"name": name, "output": output})
    return cast("AnyStep", kind(world))


async def new_world(store: Store | None = None) -> World:
    clock = VirtualClock()
    schema = Schema([FlowRun, Effect, Answer])
    return World(store or await Store.memory(schema, clock, inline=True), clock)


def engine_of(world: World, steps: list[str] = PLAN, probe: Watch | None = None) -> FlowEngine:
    """An engine with one workflow."""
    return world.engine({"test.flow": steps}, probe)
