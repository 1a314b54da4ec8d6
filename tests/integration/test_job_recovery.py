"""What becomes of jobs that another life of the process has left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import cast

import pytest
from tests.unit.kernel.flow.world import ACTOR, Answer, Crash, Effect, Watch
from tests.unit.kernel.job_site import Make, Site, gate_handler, job_id, opened

from cairn.kernel.api import ApiCommand
from cairn.kernel.flow.journal import FlowRun
from cairn.kernel.job import Job, JobState
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store
from cairn.testing.clock import VirtualClock


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with opened() as made:
        yield made


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
    await site.takeover.start()

    assert (await site.look(2)).state is JobState.SUCCEEDED  # it holds its turn in a queue: others may wait for it
    assert (await site.look(1)).state is JobState.RUNNING
    assert site.jobs.counts() == (1, 1)


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
    assert await site.takeover.start() == 1
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
    await site.takeover.start()

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
    await site.takeover.start()

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
    await site.takeover.start()

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
        await site.takeover.start()
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
    assert await site.takeover.start() == 1

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
    await site.takeover.start()

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
    rows = await site.store.read(lambda tx: tx.find(Job, order_by="create_date"))
    site.jobs.adopt(rows, {job_id(3)})
    await site.clock.settle()
    assert (site.calls, site.jobs.counts()) == (["x", "z"], (2, 1))
    gate.set()
    assert [(await site.look(number)).state for number in (1, 2, 3)] == [JobState.SUCCEEDED] * 3


async def recovered(site: Site) -> None:
    """The next life of the node, with what it finds."""
    await site.jobs.stop()
    site.calls.clear()
    site.restart()
    await site.takeover.start()
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
