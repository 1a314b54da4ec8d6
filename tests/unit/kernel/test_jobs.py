from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Annotated, ClassVar, cast

import msgspec
import pytest
from tests.unit.kernel.flow.world import ACTOR, Answer, Crash, Effect, Parameters, Watch, World, flow

from cairn.kernel.api import ApiCommand, ApiCreate, Reference, Secret, action, post
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.context import CallContext, current, entered
from cairn.kernel.bus.transport import NoTransport
from cairn.kernel.desk import JobDesk
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.engine import FlowEngine
from cairn.kernel.flow.journal import FlowRun
from cairn.kernel.ids import JobId, NodeId, RandomIds
from cairn.kernel.job import OPEN, Job, JobState
from cairn.kernel.jobs import Jobs
from cairn.kernel.limits import BACKLOG
from cairn.kernel.metrics import Metrics
from cairn.kernel.query.engine import QueryEngine
from cairn.kernel.ring import Ring
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store, Tx
from cairn.testing.clock import VirtualClock

Handler = Callable[["Do"], Awaitable[object]]
NODE = NodeId("node")
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
        self.restart()

    def restart(self, probe: Watch | None = None) -> None:
        ring = Ring()
        ring.set_members([NODE], 1)
        self.bus = Bus(NODE, ring, NoTransport(), self.clock, Metrics(), RandomIds(seed=1))
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


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    clock = VirtualClock()
    store = await Store.memory(Schema([Job, FlowRun, Effect, Answer]), clock, inline=True)
    site = Site(store, clock)
    yield site
    await site.jobs.stop()
    await store.close()


# -- accepting ----------------------------------------------------------------------------------------------------


async def test_accepted_call_runs_and_succeeds(site: Site) -> None:
    assert await site.submit()

    row = await site.look()

    assert (row.state, row.api, row.account_uuid) == (JobState.SUCCEEDED, "Do", ACTOR)
    assert row.answer == b'{"answer":{"uuid":"x"},"effects":0}'
    assert row.finish_date is not None
    assert row.create_date < row.finish_date < site.clock.now() + timedelta(seconds=1)
    assert site.jobs.counts() == (0, 0)


async def test_repeated_call_is_the_same_job(site: Site) -> None:
    assert await site.submit()
    assert not await site.submit()
    await site.look()

    assert not await site.submit()

    assert site.calls == ["x"]


async def test_id_of_another_call_or_caller_is_refused(site: Site) -> None:
    await site.submit()

    with pytest.raises(CairnError, match=r"job\.id-taken"):
        await site.submit(thing="y")
    with pytest.raises(CairnError, match=r"job\.id-taken"):
        await site.jobs.submit(job_id(), do("x"), actor="somebody else", timeout_seconds=1.0)


async def test_accepted_job_runs_although_its_caller_went_away(site: Site) -> None:
    class Leaving(Store):
        def __init__(self, store: Store) -> None:
            self._real = store

        async def write(self, fn, **options):  # type: ignore[no-untyped-def]
            await self._real.write(fn, **options)
            raise asyncio.CancelledError

    real = site.store
    site.jobs._store = Leaving(real)
    with suppress(asyncio.CancelledError):
        await site.submit()
    site.jobs._store = real

    assert (await site.look()).state is JobState.SUCCEEDED


async def test_job_s_task_is_no_part_of_the_call_that_submitted_it(site: Site) -> None:
    contexts: list[CallContext] = []

    async def handler(message: Do) -> Reference:
        contexts.append(current())
        return Reference(uuid=message.uuid)

    site.handler = handler
    with entered(CallContext(job=job_id(9), stack=("http.call",), deadline=0.5, actor="gateway")):
        await site.submit()
    await site.look()

    assert contexts == [CallContext(job=job_id(), stack=("test-jobs.do",), deadline=100.0, actor=ACTOR)]


async def test_waiting_job_shows_nothing_of_its_request_and_ended_one_keeps_none(site: Site) -> None:
    site.limit = 1
    site.handler = gate_handler(gate := asyncio.Event())
    for number in (1, 2):
        message = do("x", "correct horse")
        await site.jobs.submit(job_id(number), message, actor=ACTOR, timeout_seconds=100.0)
    fields = QueryEngine(Schema([Job]), site.store).schema()["Job"]

    assert b"correct horse" in (await site.row(2)).request
    assert not {"request", "digest", "answer"} & {field.name for field in fields.fields}
    gate.set()
    await site.look()
    assert (await site.row(2)).request == b"{}"


# -- parallelism --------------------------------------------------------------------------------------------------


async def test_jobs_beyond_the_limit_wait_in_order(site: Site) -> None:
    site.limit = 2
    gate = asyncio.Event()
    site.handler = gate_handler(gate)
    for number in range(1, 6):
        await site.submit(number, f"t{number}")
    await site.clock.settle()

    assert site.calls == ["t1", "t2"]
    assert site.jobs.counts() == (2, 3)
    assert (await site.look(1)).state is JobState.RUNNING
    assert (await site.look(3)).state is JobState.WAITING
    assert site.jobs.progress(job_id(3)) is None
    gate.set()
    await site.clock.settle()
    assert site.calls == [f"t{number}" for number in range(1, 6)]


async def test_changed_limit_is_in_force_at_once(site: Site) -> None:
    site.limit = 1
    site.handler = gate_handler(asyncio.Event())
    for number in range(1, 5):
        await site.submit(number)

    site.limit = 3
    site.jobs.changed()

    assert site.jobs.counts() == (3, 1)


async def test_call_beyond_the_backlog_is_refused_before_anything_is_written(site: Site) -> None:
    site.backlog = 3
    site.handler = gate_handler(gate := asyncio.Event())
    for number in (1, 2, 3):
        await site.submit(number)

    with pytest.raises(CairnError, match=r"job\.backlog-full"):
        await site.submit(4)

    assert await site.store.read(lambda tx: tx.count(Job)) == 3
    assert not await site.submit(3)  # it was accepted already
    gate.set()
    await site.clock.settle()
    assert await site.submit(4)


async def test_call_that_could_not_be_written_does_not_count(site: Site) -> None:
    site.backlog = 2
    site.handler = gate_handler(asyncio.Event())
    await site.submit(1)
    for _ in range(5):
        with pytest.raises(CairnError, match=r"job\.id-taken"):
            await site.submit(1, "y")

    assert await site.submit(2)


async def test_jobs_of_the_last_life_are_never_refused_and_one_that_had_begun_does_not_wait(site: Site) -> None:
    gate = gate_handler(asyncio.Event())
    site.handler = lambda message: gate(message) if message.uuid == "slow" else site.by_flow(message)
    site.world.gates["a3"] = asyncio.Event()
    for number, thing in enumerate(("slow", "x", "slow"), 1):
        await site.submit(number, thing)
    await site.world.wait_at("a3")
    await site.jobs.stop()

    site.limit, site.backlog = 1, 1
    site.world.gates.clear()
    site.restart()
    await site.jobs.recover(await site.flows.restore())

    assert (await site.look(2)).state is JobState.SUCCEEDED  # it holds its turn in a queue: others may wait for it
    assert (await site.look(1)).state is JobState.RUNNING
    assert site.jobs.counts() == (1, 1)


async def test_metrics_say_what_waits_and_for_how_long(site: Site) -> None:
    site.limit = 1
    site.handler = gate_handler(asyncio.Event())
    for number in (1, 2, 3):
        await site.submit(number)
    await site.clock.advance(7.0)

    assert site.metrics.jobs_waiting.values() == {("Do",): 2.0}
    assert site.metrics.job_oldest_wait.values() == {(): 7.0}


# -- looking ------------------------------------------------------------------------------------------------------


async def test_all_who_wait_are_answered_when_it_ends(site: Site) -> None:
    gate = asyncio.Event()
    site.handler = gate_handler(gate)
    await site.submit()
    waiters = [asyncio.create_task(site.desk.look(job_id(), 30.0 + number)) for number in range(5)]
    await site.clock.settle()

    gate.set()
    await site.clock.settle()

    assert [waiter.result().state for waiter in waiters] == [JobState.SUCCEEDED] * 5


async def test_each_who_waits_is_answered_when_its_own_patience_ends(site: Site) -> None:
    site.handler = gate_handler(asyncio.Event())
    await site.submit()
    waiters = [asyncio.create_task(site.desk.look(job_id(), seconds)) for seconds in (5.0, 10.0, 10.0, 20.0)]

    done: list[int] = []
    for _ in range(4):
        await site.clock.advance(5.0)
        done.append(sum(waiter.done() for waiter in waiters))

    assert done == [1, 3, 3, 4]
    assert waiters[0].result().state is JobState.RUNNING


class Woken:
    """One that counts how often it was woken."""

    def __init__(self) -> None:
        self.times = 0
        self.ended: Job | None = None

    def wake(self, ended: Job | None = None) -> None:
        self.times += 1
        self.ended = ended


async def test_who_watches_a_job_is_woken_once_by_its_end(site: Site) -> None:
    gate = asyncio.Event()
    site.handler = gate_handler(gate)
    await site.submit()
    one, other, gone = Woken(), Woken(), Woken()
    assert all(site.jobs.watch(job_id(), waiter) for waiter in (one, other, gone))
    site.jobs.unwatch(job_id(), gone)
    await site.clock.settle()
    assert one.times == 0

    gate.set()
    await site.clock.settle()

    assert (one.times, other.times, gone.times) == (1, 1, 0)
    assert one.ended == await site.desk.look(job_id()), "it is told what it would find"
    assert not site.jobs.watch(job_id(), one), "it has ended"
    site.jobs.unwatch(job_id(), one)


async def test_who_watches_a_job_is_woken_when_the_node_stops(site: Site) -> None:
    site.handler = gate_handler(asyncio.Event())
    await site.submit()
    one = Woken()
    assert site.desk.watch(job_id(), one)

    await site.jobs.stop()

    assert (one.times, one.ended) == (1, None)
    assert not site.desk.watch(job_id(), one)


async def test_unknown_job_is_said_not_to_be_there(site: Site) -> None:
    for call in (site.desk.look(job_id(7), 5.0), site.desk.cancel(job_id(7))):
        with pytest.raises(CairnError, match=r"job\.not-found"):
            await call


async def test_progress_of_a_job_is_that_of_its_workflow(site: Site) -> None:
    site.handler = site.by_flow
    site.world.gates["a2"] = asyncio.Event()
    await site.submit()
    await site.world.wait_at("a2")

    progress = site.jobs.progress(job_id())

    assert progress is not None
    assert (progress.step, progress.percent) == ("acting", 33)


async def test_progress_without_a_workflow_is_work(site: Site) -> None:
    site.handler = gate_handler(asyncio.Event())
    await site.submit()
    await site.clock.settle()

    progress = site.jobs.progress(job_id())

    assert progress is not None
    assert progress.step == "working"


# -- ending -------------------------------------------------------------------------------------------------------


async def test_commit_makes_work_and_success_one(site: Site) -> None:
    site.handler = site.by_commit
    await site.submit()

    assert (await site.look()).answer == b'{"answer":{"uuid":"x"},"effects":1}'


async def test_commit_in_a_call_made_by_the_handler_does_not_end_the_job(site: Site) -> None:
    states: list[JobState] = []

    async def handler(message: Do) -> Reference:
        with entered(current().child("other.call")):
            answer = await site.by_commit(message)
        states.append((await site.row()).state)
        return answer

    site.handler = handler
    await site.submit()

    assert (await site.look()).state is JobState.SUCCEEDED
    assert states == [JobState.WAITING]


async def test_workflow_s_end_is_the_job_s(site: Site) -> None:
    site.handler = site.by_flow
    await site.submit()

    assert (await site.look()).answer == b'{"answer":{"thing":"x"},"effects":1}'


@pytest.mark.parametrize(
    ("error", "code"),
    [(CairnError("test.no", "No.", kind=ErrorKind.CONFLICT), "test.no"), (ZeroDivisionError(), "internal.bug")],
)
async def test_failing_handler_fails_its_job(site: Site, error: Exception, code: str) -> None:
    async def handler(message: Do) -> Reference:
        raise error

    site.handler = handler
    await site.submit()

    row = await site.look()
    assert row.state is JobState.FAILED
    assert row.error is not None
    assert row.error.code == code
    assert row.request == b"{}"
    assert site.jobs.counts() == (0, 0)


async def test_render_that_fails_undoes_the_work(site: Site) -> None:
    async def handler(message: Do) -> Reference:
        return await site.jobs.commit(lambda tx: cast("Reference", tx.insert(Effect(step="x"))))

    site.handler = handler
    await site.submit()

    assert (await site.look()).state is JobState.FAILED
    assert await site.world.effects() == set()


async def test_job_that_takes_too_long_is_undone_and_fails(site: Site) -> None:
    site.handler = site.by_flow
    site.world.gates["a3"] = asyncio.Event()
    await site.submit(timeout_seconds=20.0)

    await site.clock.advance(20.0)

    row = await site.look()
    assert row.state is JobState.FAILED
    assert row.error is not None
    assert row.error.code == "bus.deadline-passed"
    assert await site.world.effects() == set()


async def test_job_whose_undo_failed_says_what_is_left(site: Site) -> None:
    site.handler = site.by_flow
    site.world.gates["a3"] = asyncio.Event()
    site.world.bad_undo["a2"] = 1
    await site.submit(timeout_seconds=20.0)

    await site.clock.advance(20.0)

    row = await site.look()
    assert row.error is not None
    assert row.error.details["undoPending"] == (await site.world.rows())[0].uuid


async def broken(fn: object, *, own: str | None = None) -> object:
    raise CairnError("store.full", "The disk is full.", kind=ErrorKind.UNAVAILABLE)


async def test_job_does_not_end_before_its_undo_could_begin(site: Site) -> None:
    def break_down() -> None:
        site.store.write = broken  # type: ignore[method-assign, assignment]

    writes = site.store.write
    site.handler = site.by_flow
    site.world.bad_late = {"a2"}
    site.world.hooks["a2"] = break_down
    await site.submit()
    assert (await site.look()).state in OPEN

    site.store.write = writes  # type: ignore[method-assign]
    site.world.hooks.clear()
    await site.clock.advance(5.0)

    row = await site.look()
    assert row.state is JobState.FAILED
    assert row.error is not None
    assert row.error.code == "test.refused"
    assert await site.world.effects() == set()
    assert site.calls == ["x"]


async def test_job_whose_end_cannot_be_written_ends_when_it_can_and_is_not_done_again(site: Site) -> None:
    async def handler(message: Do) -> Reference:
        full.on = True
        raise CairnError("test.no", "No.", kind=ErrorKind.CONFLICT)

    class Full(Store):
        on = False

        def __init__(self, store: Store) -> None:
            self._real = store

        async def write(self, fn, **options):  # type: ignore[no-untyped-def]
            if self.on:
                raise CairnError("store.full", "The disk is full.", kind=ErrorKind.EXHAUSTED)
            return await self._real.write(fn, **options)

        async def look(self, fn):  # type: ignore[no-untyped-def]
            return await self._real.look(fn)

        async def read(self, fn):  # type: ignore[no-untyped-def]
            return await self._real.read(fn)

    full = site.jobs._store = Full(site.store)
    site.handler = handler
    await site.submit()
    await site.clock.advance(20.0)
    assert (await site.look()).state not in (JobState.FAILED, JobState.SUCCEEDED)

    full.on = False
    await site.clock.advance(5.0)

    row = await site.look()
    assert row.error is not None
    assert row.error.code == "test.no"
    assert site.calls == ["x"]


# -- cancelling ---------------------------------------------------------------------------------------------------


async def test_cancelled_while_running_it_is_undone(site: Site) -> None:
    site.handler = site.by_flow
    site.world.gates["a3"] = asyncio.Event()
    await site.submit()
    await site.world.wait_at("a3")

    await site.desk.cancel(job_id())

    row = await site.look()
    assert row.state is JobState.CANCELLED
    assert row.error is not None
    assert row.error.code == "job.cancelled"
    assert await site.world.effects() == set()
    assert site.jobs.counts() == (0, 0)


async def test_cancelled_twice_while_it_is_undone_it_ends_once(site: Site) -> None:
    site.handler = site.by_flow
    site.world.gates = {"a3": asyncio.Event(), "undo a3": asyncio.Event()}
    await site.submit()
    await site.world.wait_at("a3")
    await site.desk.cancel(job_id())
    gate = await site.world.wait_at("undo a3")
    await site.desk.cancel(job_id())
    assert (await site.look()).state is JobState.RUNNING

    gate.set()

    assert (await site.look()).state is JobState.CANCELLED


async def test_cancelled_while_waiting_it_ends_at_once_and_keeps_no_place(site: Site) -> None:
    site.limit = 1
    gate = asyncio.Event()
    site.handler = gate_handler(gate)
    await site.submit(1)
    await site.submit(2, "y")
    await site.submit(3, "z")

    await site.desk.cancel(job_id(2))

    assert (await site.look(2)).state is JobState.CANCELLED
    assert site.jobs.counts() == (1, 1)
    gate.set()
    await site.clock.settle()
    assert site.calls == ["x", "z"]
    assert site.jobs.counts() == (0, 0)


async def test_cancelled_while_waiting_for_a_place_after_a_restart_it_ends_at_once(site: Site) -> None:
    site.limit = 1
    site.handler = gate_handler(asyncio.Event())
    await site.submit(1, "x")
    await site.submit(2, "y")
    await recovered(site)
    assert site.calls == ["x"]

    await site.desk.cancel(job_id(2))

    assert (await site.look(2)).state is JobState.CANCELLED
    assert site.calls == ["x"]
    assert site.jobs.counts() == (1, 0)


async def test_cancelled_before_its_task_has_begun_it_does_nothing(site: Site) -> None:
    await site.submit()

    await site.desk.cancel(job_id())

    assert (await site.look()).state is JobState.CANCELLED
    assert site.calls == []


async def test_cancelled_when_it_has_ended_it_stays_as_it_is(site: Site) -> None:
    await site.submit()
    await site.look()

    await site.desk.cancel(job_id())

    assert (await site.look()).state is JobState.SUCCEEDED
    assert not (await site.row()).cancel_requested


# -- another life -------------------------------------------------------------------------------------------------


async def test_stop_drops_jobs_where_they_stand_and_the_next_life_finishes_them(site: Site) -> None:
    site.handler = site.by_flow
    site.world.gates["a3"] = asyncio.Event()
    await site.submit()
    await site.world.wait_at("a3")
    waiter = asyncio.create_task(site.desk.look(job_id(), 60.0))
    await site.clock.settle()

    await site.jobs.stop()

    assert not any(line.startswith("undo") for line in site.world.story)
    assert (await waiter).state in (JobState.WAITING, JobState.RUNNING)
    site.world.gates.clear()
    site.restart()
    assert await site.jobs.recover() == 1
    assert (await site.look()).state is JobState.SUCCEEDED
    assert site.calls == ["x"]
    assert await site.world.rows() == []


async def test_job_that_had_done_nothing_is_called_again(site: Site) -> None:
    site.limit = 1
    site.handler = gate_handler(asyncio.Event())
    await site.submit(1)
    await site.submit(2, "y")
    await site.clock.settle()
    await site.jobs.stop()

    site.handler = site.by_commit
    site.restart()
    await site.jobs.recover()

    assert (await site.look(2)).state is JobState.SUCCEEDED
    assert site.calls == ["x", "x", "y"]


@pytest.mark.parametrize("journaled", [True, False])
async def test_job_that_was_to_be_cancelled_is_undone_in_the_next_life(site: Site, journaled: bool) -> None:
    site.handler = site.by_flow if journaled else gate_handler(asyncio.Event())
    site.world.gates["a3"] = asyncio.Event()
    await site.submit()
    await site.clock.settle()
    await site.jobs.stop()
    site.world.gates.clear()
    await site.store.write(lambda tx: tx.update(Job, job_id(), cancel_requested=True))

    site.restart()
    await site.jobs.recover()

    assert (await site.look()).state is JobState.CANCELLED
    assert await site.world.effects() == set()
    assert await site.world.rows() == []
    assert site.jobs.counts() == (0, 0)
    assert site.calls == ["x"]


async def test_job_taken_up_again_has_a_time_out_too(site: Site) -> None:
    site.handler = site.by_flow
    site.world.gates["a3"] = asyncio.Event()
    await site.submit(timeout_seconds=20.0)
    await site.world.wait_at("a3")
    await site.jobs.stop()
    site.restart()
    await site.jobs.recover()

    await site.clock.advance(20.0)

    assert (await site.look()).state is JobState.FAILED
    assert await site.world.effects() == set()


@pytest.mark.parametrize("bad", [False, True])
async def test_crash_at_any_journal_write_ends_in_one_answer(bad: bool) -> None:
    for crash_at in range(12):
        clock = VirtualClock()
        store = await Store.memory(Schema([Job, FlowRun, Effect, Answer]), clock, inline=True)
        site = Site(store, clock)
        site.world.bad_late = {"a3"} if bad else set()
        site.handler = site.by_flow
        site.restart(Watch(crash_at))
        await site.submit()
        opened = site.jobs._open.get(job_id())
        assert opened is not None
        task = opened.task
        assert task is not None
        with suppress(Crash):
            await task
        site.restart()
        await site.jobs.recover()
        row = await site.look()
        effects = await site.world.effects()
        assert (row.state, effects) == (
            (JobState.FAILED, set()) if bad else (JobState.SUCCEEDED, {"t1", "a2", "a3"})
        ), crash_at
        assert await site.world.rows() == []
        await site.jobs.stop()
        await store.close()


@pytest.mark.parametrize("journaled", [True, False])
async def test_job_whose_call_nobody_knows_any_more_is_undone_and_fails(site: Site, journaled: bool) -> None:
    site.handler = site.by_flow if journaled else gate_handler(asyncio.Event())
    site.world.gates["a3"] = asyncio.Event()
    await site.submit()
    await site.clock.settle()
    await site.jobs.stop()
    site.world.gates.clear()
    await site.store.write(lambda tx: tx.update(Job, job_id(), tag="gone.plugin"))

    site.restart()
    assert await site.jobs.recover(await site.flows.restore()) == 1

    row = await site.look()
    assert row.state is JobState.FAILED
    assert row.error is not None
    assert row.error.code == "job.unreadable"
    assert await site.world.effects() == set()
    assert await site.world.rows() == []
    assert site.jobs.counts() == (0, 0)


async def test_job_whose_call_nobody_knows_names_what_could_not_be_undone(site: Site) -> None:
    site.handler = site.by_flow
    site.world.gates["a3"] = asyncio.Event()
    site.world.bad_undo["a3"] = 1
    await site.submit()
    await site.clock.settle()
    await site.jobs.stop()
    site.world.gates.clear()
    await site.store.write(lambda tx: tx.update(Job, job_id(), tag="gone.plugin"))

    site.restart()
    await site.jobs.recover(await site.flows.restore())

    row = await site.look()
    assert row.error is not None
    assert row.error.details["undoPending"] == (await site.world.rows())[0].uuid


async def test_jobs_that_had_begun_begin_at_once_however_many_may_run(site: Site) -> None:
    """Older jobs may wait for the places that they hold: with all slots taken by these nothing would ever move."""
    site.handler = gate_handler(gate := asyncio.Event())
    for number, thing in enumerate("xyz", 1):
        await site.submit(number, thing)
    await site.clock.settle()
    await site.jobs.stop()
    site.calls.clear()

    site.limit = 1
    site.restart()
    assert await site.jobs.recover({job_id(3)}) == 3
    await site.clock.settle()
    assert (site.calls, site.jobs.counts()) == (["x", "z"], (2, 1))
    gate.set()
    assert [(await site.look(number)).state for number in (1, 2, 3)] == [JobState.SUCCEEDED] * 3


async def test_call_that_is_one_transaction_waits_for_the_workflow_of_its_resource(site: Site) -> None:
    site.handler = site.by_commit
    place = site.world.queues.keep("test-jobs:x", name="a workflow", job=None)
    await site.submit(1, "x")
    await site.submit(2, "y")
    assert (await site.look(2)).state is JobState.SUCCEEDED
    assert (await site.look(1)).state is JobState.RUNNING

    place.leave()

    assert (await site.look(1)).state is JobState.SUCCEEDED


# -- creations, and calls that wait for them ------------------------------------------------------------------------


async def recovered(site: Site) -> None:
    """The next life of the node, with what it finds."""
    await site.jobs.stop()
    site.calls.clear()
    site.restart()
    await site.jobs.recover(await site.flows.restore())
    await site.clock.settle()


async def create(site: Site, number: int, uuid: str) -> None:
    call = cast("ApiCommand[object]", Make(resource_uuid=uuid))
    await site.jobs.submit(job_id(number), call, actor=ACTOR, timeout_seconds=100.0)


@pytest.mark.parametrize("again", [False, True])
async def test_call_that_names_a_new_resource_waits_for_the_end_of_its_creation(site: Site, again: bool) -> None:
    new = "e" * 32
    made = asyncio.Event()
    site.handler = gate_handler(made)
    await create(site, 1, new)
    await site.submit(2, new)
    await site.submit(3, "other")
    await site.clock.settle()
    if again:
        await recovered(site)
    assert sorted(site.calls) == ["make", "other"]

    made.set()
    await site.clock.settle()

    assert site.calls[2:] == [new]
    assert (await site.look(2)).state is JobState.SUCCEEDED
    await site.submit(4, new)
    assert (await site.look(4)).state is JobState.SUCCEEDED


@pytest.mark.parametrize("again", [False, True])
async def test_call_that_waits_for_a_creation_can_be_cancelled(site: Site, again: bool) -> None:
    site.handler = gate_handler(asyncio.Event())
    await create(site, 1, "e" * 32)
    await site.submit(2, "e" * 32)
    await site.clock.settle()
    if again:
        await recovered(site)

    await site.desk.cancel(job_id(2))

    assert (await site.look(2)).state is JobState.CANCELLED
    await site.desk.cancel(job_id(1))
    assert (await site.look(1)).state is JobState.CANCELLED
    assert site.jobs.counts() == (0, 0)


async def test_clean_removes_what_has_ended_long_ago(site: Site) -> None:
    await site.submit(1)
    await site.look()
    await site.clock.advance(3601.0)
    await site.submit(2)
    await site.look(2)

    assert await site.jobs.clean() == 1

    with pytest.raises(CairnError, match=r"job\.not-found"):
        await site.look(1)
    assert (await site.look(2)).state is JobState.SUCCEEDED
