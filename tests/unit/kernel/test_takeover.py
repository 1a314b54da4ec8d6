from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.unit.kernel.flow.world import RETRY_SECONDS
from tests.unit.kernel.nodes import SmallNode, Two, two_nodes

from cairn.kernel.flow.journal import RunState
from cairn.kernel.job import JobState
from cairn.kernel.membership import NodeState, change_state

NOTICED_SECONDS = 8


@pytest.fixture
async def two() -> AsyncIterator[Two]:
    async with two_nodes() as made:
        yield made


def gate(*nodes: SmallNode, step: str = "a3") -> None:
    for node in nodes:
        node.world.gates[step] = asyncio.Event()


async def test_a_dead_nodes_run_goes_on_where_it_stood(two: Two) -> None:
    gate(two.a)
    await two.submit(two.a, two.thing_of(two.a))
    await two.clock.settle()
    assert [run.node_uuid for run in await two.runs()] == [two.a.name]

    await two.a.kill()
    await two.clock.advance(NOTICED_SECONDS)

    assert (await two.row()).state is JobState.SUCCEEDED
    assert (await two.row()).node_uuid == two.b.name
    assert await two.runs() == []
    assert two.b.calls == []
    assert [line for line in two.b.world.story if line.startswith("do a")] == ["do a2", "do a3"]  # they share an entry


async def test_a_dead_nodes_job_that_had_done_nothing_is_called_again(two: Two) -> None:
    never = asyncio.Event()

    async def wait(message: object) -> object:
        await never.wait()
        raise AssertionError

    two.a.handler = wait  # type: ignore[assignment]
    await two.submit(two.a, two.thing_of(two.a))
    await two.a.kill()
    await two.clock.advance(NOTICED_SECONDS)

    assert two.b.calls == [two.thing_of(two.a)]
    assert (await two.row()).state is JobState.SUCCEEDED


async def test_what_a_living_node_does_is_left_alone(two: Two) -> None:
    gate(two.a)
    await two.submit(two.b, two.thing_of(two.a))
    await two.clock.advance(60)

    assert (await two.row()).node_uuid == two.a.name
    assert two.b.calls == []
    assert two.b.world.story == []


async def test_a_node_that_joins_begins_nothing_before_the_former_owner_has_ended(two: Two) -> None:
    thing = two.thing_of(two.b)
    await two.b.membership.stop()
    await two.clock.advance(2)
    gate(two.a)
    await two.submit(two.a, thing, 1)
    await two.clock.settle()

    await two.clock.run(two.b.membership.start())
    two.b.handler = two.b.by_commit
    await two.submit(two.b, thing, 2)
    await two.clock.advance(10)
    assert (await two.row(2)).node_uuid == two.b.name
    assert (await two.row(2)).state is JobState.WAITING  # for the end of what the drained node does with that thing

    two.a.world.gates["a3"].set()
    await two.clock.advance(3)

    assert [(await two.row(number)).state for number in (1, 2)] == [JobState.SUCCEEDED] * 2
    assert [(await two.row(number)).node_uuid for number in (1, 2)] == [two.a.name, two.b.name]


async def test_jobs_that_wait_in_a_queue_follow_the_ring_when_their_turn_comes(two: Two) -> None:
    thing = two.thing_of(two.b)
    await two.b.membership.stop()
    await two.clock.advance(2)
    gate(two.a)
    await two.submit(two.a, thing, 1)
    await two.submit(two.a, thing, 2)
    await two.clock.settle()

    two.b.handler = two.b.by_commit
    await two.clock.run(two.b.membership.start())
    await two.clock.advance(5)
    two.a.world.gates["a3"].set()
    await two.clock.advance(10)

    assert [(await two.row(number)).node_uuid for number in (1, 2)] == [two.a.name, two.b.name]
    assert (await two.row(2)).state is JobState.SUCCEEDED
    assert await two.runs() == []


async def test_an_undo_that_is_owed_goes_to_the_new_owner_of_its_queue(two: Two) -> None:
    thing = two.thing_of(two.b)
    await two.b.membership.stop()
    await two.clock.advance(2)
    two.a.world.bad_late = {"a3"}
    two.a.world.bad_undo["a2"] = 1000
    await two.submit(two.a, thing)
    await two.clock.settle()
    assert [(run.node_uuid, run.state) for run in await two.runs()] == [(two.a.name, RunState.UNDO_FAILED)]

    await two.clock.run(two.b.membership.start())
    await two.clock.advance(3 + RETRY_SECONDS)

    assert await two.runs() == []
    assert "undo a2" in two.b.world.story
    await two.submit(two.a, thing, 2)
    await two.clock.advance(3)
    assert (await two.row(2)).state is JobState.SUCCEEDED


async def test_an_undo_that_is_just_being_tried_stays_where_it_is_until_the_next_round(two: Two) -> None:
    thing = two.thing_of(two.b)
    await two.b.membership.stop()
    await two.clock.advance(2)
    two.a.world.bad_late = {"a3"}
    two.a.world.bad_undo["a2"] = 1000
    await two.submit(two.a, thing)
    await two.clock.settle()
    (run,) = await two.runs()
    release = two.a.flows.release
    two.a.flows.release = lambda uuid: False  # type: ignore[method-assign]

    await two.clock.run(two.b.membership.start())
    await two.clock.advance(5)
    assert [one.claim for one in await two.runs()] == [run.claim]

    two.a.flows.release = release  # type: ignore[method-assign]
    await two.clock.advance(3 + RETRY_SECONDS)
    assert await two.runs() == []
    assert "undo a2" in two.b.world.story


async def test_a_drained_node_ends_what_it_has_and_takes_nothing(two: Two) -> None:
    gate(two.a)
    await two.submit(two.a, two.thing_of(two.a), 1)
    await two.store.write(lambda tx: change_state(tx, two.a.name, NodeState.DRAINING))
    await two.clock.advance(3)

    two.b.handler = two.b.by_commit
    await two.submit(two.a, two.thing_of(two.a), 2)
    await two.clock.advance(3)
    assert (await two.row(1)).node_uuid == two.a.name
    assert (await two.row(2)).node_uuid == two.b.name
    assert (await two.row(2)).state is JobState.WAITING  # for the end of what the drained node does with that thing

    two.a.world.gates["a3"].set()
    await two.clock.advance(3)
    assert [(await two.row(number)).state for number in (1, 2)] == [JobState.SUCCEEDED] * 2


async def test_a_round_without_news_costs_no_look(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    async def no(fn: object) -> object:
        raise AssertionError("something was looked up")

    await two.clock.advance(5)
    monkeypatch.setattr(two.store, "read", no)
    monkeypatch.setattr(two.store, "write", no)
    await two.a.takeover.round()
