from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from typing import cast

import pytest
from tests.unit.kernel.flow.world import ACTOR, Effect
from tests.unit.kernel.job_site import Do, Site, do, gate_handler, job_id, opened

from cairn.kernel.api import Reference
from cairn.kernel.bus.context import CallContext, current, entered
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.job import OPEN, Job, JobState
from cairn.kernel.query.engine import QueryEngine
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with opened() as made:
        yield made


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


async def test_call_that_is_one_transaction_waits_for_the_workflow_of_its_resource(site: Site) -> None:
    site.handler = site.by_commit
    place = site.world.queues.keep("test-jobs:x", name="a workflow", job=None)
    await site.submit(1, "x")
    await site.submit(2, "y")
    assert (await site.look(2)).state is JobState.SUCCEEDED
    assert (await site.look(1)).state is JobState.RUNNING

    place.leave()

    assert (await site.look(1)).state is JobState.SUCCEEDED


# -- cancelling ---------------------------------------------------------------------------------------------------


async def test_cancelled_while_running_it_is_undone(site: Site) -> None:
    site.handler = site.by_flow
    site.world.gates["a3"] = asyncio.Event()
    await site.submit()
    await site.world.wait_at("a3")
    one = Woken()
    assert site.jobs.watch(job_id(), one)

    await site.desk.cancel(job_id())

    row = await site.look()
    assert row.state is JobState.CANCELLED
    assert one.ended == await site.desk.look(job_id()), "who waits is told what stands in the database"
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


# -- cleaning -----------------------------------------------------------------------------------------------------


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
