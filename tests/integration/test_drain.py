"""A node that is told to end while it works, and others are there: nothing is broken off, and nothing is done twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.test_nodes import NODES, Nodes, three_nodes
from tests.integration.test_takeover import begin, begun_by_all, jobs, runs, states, vms

from cairn.bootstrap import Node
from cairn.kernel.job import OPEN, Job, JobState
from cairn.kernel.membership import ManagementNode
from cairn.simulator.dials import Dial

A, B, C = NODES


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Nodes]:
    async with three_nodes(tmp_path) as made:
        yield made


async def test_what_a_leaving_node_has_begun_is_ended_there_and_what_it_has_not_is_handed_on(cloud: Nodes) -> None:
    await cloud.set_parallelism(C, 2)
    cloud.agents.dials.turn(Dial(command="vm.start", delay_seconds=8))
    for number in range(24):
        await begin(cloud, A, f"vm-{number}")
    await cloud.clock.advance(3)
    before = {row.uuid: row for row in await jobs(cloud) if row.node_uuid == C}
    begun = {run.job_uuid for run in await runs(cloud)} & set(before)
    assert 0 < len(begun) < len(before)

    leaving = asyncio.ensure_future(cloud.nodes[C].leave())
    await cloud.clock.advance(4)

    assert cloud.nodes[C].readiness().reasons == ["it is leaving, and takes calls for some seconds only"]
    assert {row.uuid for row in await jobs(cloud) if row.node_uuid == C} == begun
    await cloud.clock.advance(10)
    assert leaving.done()
    assert await leaving
    assert all(row.state is JobState.SUCCEEDED for row in await jobs(cloud) if row.uuid in begun)
    await cloud.clock.run(cloud.nodes.pop(C).stop())
    await cloud.clock.advance(60)
    assert await states(cloud) == {JobState.SUCCEEDED}
    assert all(row.node_uuid == C for row in await jobs(cloud) if row.uuid in begun)
    assert await runs(cloud) == []
    assert await cloud.broken_rules() == []


async def test_calls_and_waits_at_a_leaving_node_are_answered_by_the_others(cloud: Nodes) -> None:
    leaving = asyncio.ensure_future(cloud.nodes[C].leave())
    await cloud.clock.advance(0.5)
    made = [await cloud.create_vm(C, f"vm-{number}") for number in range(4)]
    assert leaving.done() or cloud.nodes[C].readiness().reasons
    assert {vm["state"] for vm in made} == {"Running"}
    assert C not in {row.node_uuid for row in await jobs(cloud)}
    await cloud.clock.run(leaving)


async def test_a_wait_at_a_node_that_ends_is_answered_with_the_job_as_it_is(cloud: Nodes) -> None:
    cloud.agents.dials.turn(Dial(command="vm.start", delay_seconds=30))
    job = await begin(cloud, C, "vm")
    waiting = asyncio.ensure_future(cloud.send(C, "GET", f"/api-jobs/{job}?wait=60"))
    await cloud.clock.advance(1)
    await cloud.clock.run(cloud.nodes.pop(C).stop())

    status, answer = await cloud.clock.run(waiting)

    assert (status, answer["state"] in ("Waiting", "Running")) == (200, True)
    await cloud.clock.advance(90)
    assert await vms(cloud) == {"vm": "Running"}


async def test_what_is_not_ended_in_time_is_taken_over_by_the_others(cloud: Nodes) -> None:
    names = await begun_by_all(cloud)
    leaving = asyncio.ensure_future(cloud.nodes[C].leave())
    await cloud.clock.advance(21)
    assert leaving.done()
    assert not await leaving
    await cloud.clock.run(cloud.nodes.pop(C).stop())
    await cloud.clock.advance(5)
    open_jobs = await cloud.store.read(lambda tx: tx.find(Job, state=list(OPEN)))
    assert C not in {row.node_uuid for row in open_jobs}
    await cloud.clock.advance(60)
    assert await vms(cloud) == dict.fromkeys(names, "Running")
    assert await states(cloud) == {JobState.SUCCEEDED}
    assert await cloud.broken_rules() == []


async def end(node: Node) -> None:
    await node.leave()
    await node.stop()


async def test_nodes_that_all_leave_wait_for_nothing(cloud: Nodes) -> None:
    await begun_by_all(cloud)
    ending = [asyncio.ensure_future(end(node)) for node in cloud.nodes.values()]
    cloud.nodes.clear()
    await cloud.clock.advance(3)
    assert all(one.done() for one in ending)
    assert await cloud.store.read(lambda tx: tx.count(ManagementNode)) == 0
