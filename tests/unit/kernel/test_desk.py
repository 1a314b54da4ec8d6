from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.unit.kernel.nodes import Two, change, job_id, two_nodes

from cairn.kernel.error import CairnError
from cairn.kernel.job import JobState


@pytest.fixture
async def two() -> AsyncIterator[Two]:
    async with two_nodes() as made:
        yield made


async def test_a_call_is_accepted_and_done_by_the_owner_of_its_key(two: Two) -> None:
    for number, owner in enumerate((two.a, two.b), start=1):
        owner.handler = owner.by_commit
        assert await two.submit(two.a, two.thing_of(owner), number)
        await two.clock.settle()
        row = await two.row(number)
        assert (row.node_uuid, row.state, row.account_uuid) == (owner.name, JobState.SUCCEEDED, "alice")
        assert owner.calls == [two.thing_of(owner)]


async def test_a_repeated_call_is_the_same_job_wherever_it_is_made(two: Two) -> None:
    thing = two.thing_of(two.b)
    assert await two.submit(two.a, thing)
    assert not await two.submit(two.b, thing)
    assert not await two.submit(two.a, thing)
    await two.clock.settle()
    assert two.b.calls == [thing]


async def test_what_the_owner_refuses_is_refused_where_it_was_asked(two: Two) -> None:
    await two.submit(two.a, two.thing_of(two.b))
    other = change(two.thing_of(two.a))
    for node in (two.a, two.b):
        with pytest.raises(CairnError, match=r"job\.id-taken"):
            await two.clock.run(node.desk.submit(job_id(1), other, actor="alice", timeout_seconds=5.0))


async def test_a_call_for_a_node_that_is_just_gone_is_taken_by_the_next(two: Two) -> None:
    thing = two.thing_of(two.b)
    await two.b.kill()
    assert await two.submit(two.a, thing)
    await two.clock.settle()
    assert (await two.row()).node_uuid == two.a.name
    assert two.clock.monotonic() < 20


async def test_without_any_node_the_caller_is_told_to_repeat_the_call(two: Two) -> None:
    work = two.a.desk.submit(job_id(1), change("x"), actor=None, timeout_seconds=5.0)
    two.a.ring.set_members([], 99)
    with pytest.raises(CairnError, match="with the same job id") as caught:
        await two.clock.run(work)
    assert caught.value.code == "job.no-owner"


async def test_a_job_is_waited_for_watched_and_cancelled_at_any_node(two: Two) -> None:
    two.b.world.gates["a3"] = asyncio.Event()
    await two.submit(two.a, two.thing_of(two.b))
    await two.clock.settle()
    progress = await two.clock.run(two.a.desk.progress(await two.row()))
    assert progress is not None
    assert progress.step

    before = two.clock.monotonic()
    row = await two.clock.run(two.a.desk.look(job_id(1), 30.0))
    assert row.state is JobState.WAITING
    assert two.clock.monotonic() - before >= 30.0

    poll = asyncio.create_task(two.a.desk.look(job_id(1), 60.0))
    await two.clock.run(two.a.desk.cancel(job_id(1)))
    await two.clock.advance(5)
    assert poll.result().state is JobState.CANCELLED
    assert await two.runs() == []


async def test_who_waits_is_told_at_once_when_the_job_ends_elsewhere(two: Two) -> None:
    two.b.world.gates["a3"] = asyncio.Event()
    await two.submit(two.a, two.thing_of(two.b))
    poll = asyncio.create_task(two.a.desk.look(job_id(1), 60.0))
    await two.clock.settle()
    two.b.world.gates["a3"].set()
    await two.clock.advance(0.1)
    assert poll.result().state is JobState.SUCCEEDED


async def test_a_cancel_reaches_a_job_that_is_changing_hands(two: Two) -> None:
    two.a.world.gates["a3"] = asyncio.Event()
    two.b.world.gates["a3"] = asyncio.Event()
    await two.submit(two.a, two.thing_of(two.a))
    await two.clock.settle()
    await two.a.kill()
    await two.clock.run(two.b.desk.cancel(job_id(1)))
    await two.clock.advance(10)
    assert (await two.row()).state is JobState.CANCELLED
