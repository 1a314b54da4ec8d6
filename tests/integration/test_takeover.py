"""Nodes that die, join, pause and leave while they work: every accepted call ends, once."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import msgspec
import pytest
from tests.books import disorder
from tests.integration.test_nodes import NODES, Nodes, three_nodes

from cairn.kernel.flow.journal import FlowRun
from cairn.kernel.ids import NodeId
from cairn.kernel.job import OPEN, Job, JobState
from cairn.kernel.membership import ManagementNode, NodeState, change_state
from cairn.kernel.ring import Ring
from cairn.services.host.model import Host
from cairn.services.vm.model import VmInstance
from cairn.services.zone.model import Zone
from cairn.simulator.dials import Dial
from cairn.testing.cloud import Json

A, B, C = NODES
#: heartbeats that are missed, the look that finds it, and a round of taking
ENDED_SECONDS = 10


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Nodes]:
    async with three_nodes(tmp_path) as made:
        yield made


async def begin(cloud: Nodes, node: NodeId, name: str) -> str:
    """Ask a node for a VM, and do not wait."""
    site = cloud.saved.site
    params = {
        "name": name,
        "imageUuid": site["image"],
        "l3NetworkUuids": [site["l3"]],
        "cpuNum": 1,
        "memorySize": 64 << 20,
    }
    status, answer = await cloud.request(node, "POST", "/vm-instances", {"params": params})
    assert status == 202, answer
    return str(answer["uuid"])


async def jobs(cloud: Nodes) -> list[Job]:
    return await cloud.store.read(lambda tx: tx.find(Job, api="CreateVmInstance", order_by="create_date"))


async def states(cloud: Nodes) -> set[JobState]:
    return {row.state for row in await jobs(cloud)}


async def runs(cloud: Nodes) -> list[FlowRun]:
    return await cloud.store.read(lambda tx: tx.find(FlowRun))


async def vms(cloud: Nodes) -> dict[str, str]:
    return {row.name: row.state.value for row in await cloud.store.read(lambda tx: tx.find(VmInstance))}


async def begun_by_all(cloud: Nodes) -> list[str]:
    """Twelve VMs, some on each node, all of them being started on their hosts."""
    cloud.agents.dials.turn(Dial(command="vm.start", delay_seconds=30))
    names = [f"vm-{number}" for number in range(12)]
    for name in names:
        await begin(cloud, C, name)
    await cloud.clock.advance(3)
    workers = collections.Counter(run.node_uuid for run in await runs(cloud))
    assert set(workers) == set(NODES), workers
    return names


async def test_what_a_dead_node_had_begun_is_ended_by_the_others(cloud: Nodes) -> None:
    names = await begun_by_all(cloud)
    cloud.agents.dials.clear()
    cloud.kill(C)

    await cloud.clock.advance(ENDED_SECONDS)

    assert [row.state for row in await jobs(cloud) if row.node_uuid != A and row.node_uuid != B] == []
    await cloud.clock.advance(40)
    assert await states(cloud) == {JobState.SUCCEEDED}
    assert await vms(cloud) == dict.fromkeys(names, "Running")
    assert await runs(cloud) == []
    assert await cloud.broken_rules() == []


async def test_two_of_three_nodes_die_at_once(cloud: Nodes) -> None:
    names = await begun_by_all(cloud)
    cloud.agents.dials.clear()
    cloud.kill(C)
    cloud.kill(A)

    await cloud.clock.advance(60)

    assert await vms(cloud) == dict.fromkeys(names, "Running")
    assert await states(cloud) == {JobState.SUCCEEDED}
    assert await runs(cloud) == []
    assert await cloud.broken_rules() == []


async def test_node_that_starts_leaves_alone_what_others_work_on(cloud: Nodes) -> None:
    cloud.kill(C)
    await cloud.clock.advance(20)
    cloud.agents.dials.turn(Dial(command="vm.start", delay_seconds=30))
    for number in range(12):
        await begin(cloud, A, f"vm-{number}")
    await cloud.clock.advance(3)
    before = {run.uuid: run.claim for run in await runs(cloud)}
    assert len(before) == 12

    await cloud.start(C)
    await cloud.clock.advance(5)

    assert {run.uuid: run.claim for run in await runs(cloud)} == before
    await cloud.clock.advance(60)
    assert await states(cloud) == {JobState.SUCCEEDED}
    assert await runs(cloud) == []


async def test_new_owner_begins_nothing_on_a_vm_before_the_old_one_has_ended(cloud: Nodes) -> None:
    cloud.kill(C)
    await cloud.clock.advance(20)
    later = Ring()
    later.set_members(NODES, 1)
    made: list[Json] = []
    while [later.node_of(str(vm["uuid"])) for vm in made].count(C) < 3:
        made.append(await cloud.create_vm(A, f"vm-{len(made)}"))
    cloud.agents.dials.turn(Dial(command="vm.stop", delay_seconds=30))
    for vm in made:
        await change(cloud, A, vm, "stopVmInstance")
    await cloud.clock.advance(3)

    await cloud.start(C)
    for vm in made:
        await change(cloud, C, vm, "startVmInstance")
    await cloud.clock.advance(10)

    assert set((await vms(cloud)).values()) == {"Stopping"}
    await cloud.clock.advance(60)
    assert set((await vms(cloud)).values()) == {"Running"}
    ended = await cloud.store.read(lambda tx: tx.find(Job, api="StartVmInstance"))
    assert {row.state for row in ended} == {JobState.SUCCEEDED}
    assert any(row.node_uuid == C for row in ended)
    assert await cloud.broken_rules() == []


async def change(cloud: Nodes, node: NodeId, vm: Json, action: str) -> str:
    status, answer = await cloud.request(node, "PUT", f"/vm-instances/{vm['uuid']}/actions", {action: {}})
    assert status == 202, answer
    return str(answer["uuid"])


async def test_job_is_waited_for_and_watched_at_any_node(cloud: Nodes) -> None:
    cloud.agents.dials.turn(Dial(command="vm.start", delay_seconds=20))
    job = await begin(cloud, A, "vm")
    await cloud.clock.advance(2)
    for node in NODES:
        _, seen = await cloud.request(node, "GET", f"/api-jobs/{job}")
        assert seen["state"] == "Running", seen
        assert "host" in str(cast("Json", seen["progress"])["step"]), seen

    polls = [asyncio.create_task(cloud.send(node, "GET", f"/api-jobs/{job}?wait=60")) for node in NODES]
    await cloud.clock.advance(25)

    assert [poll.result()[1]["state"] for poll in polls] == ["Succeeded"] * 3


async def test_long_poll_survives_the_death_of_the_node_that_works(cloud: Nodes) -> None:
    cloud.agents.dials.turn(Dial(command="vm.start", delay_seconds=20))
    job = await begin(cloud, A, "vm")
    await cloud.clock.advance(2)
    (run,) = await runs(cloud)
    asked = next(node for node in NODES if node != run.node_uuid)

    poll = asyncio.create_task(cloud.send(asked, "GET", f"/api-jobs/{job}?wait=60"))
    await cloud.clock.advance(2)
    cloud.agents.dials.clear()
    cloud.kill(run.node_uuid)
    await cloud.clock.advance(40)

    assert poll.result()[1]["state"] == "Succeeded", poll.result()


async def test_job_is_cancelled_at_any_node(cloud: Nodes) -> None:
    cloud.agents.dials.turn(Dial(command="vm.start", delay_seconds=100))
    asked = [await begin(cloud, A, f"vm-{number}") for number in range(6)]
    await cloud.clock.advance(2)

    for job in asked:
        status, _ = await cloud.request(B, "DELETE", f"/api-jobs/{job}")
        assert status in (200, 202)
    await cloud.clock.advance(20)

    assert await states(cloud) == {JobState.CANCELLED}
    assert await vms(cloud) == {}
    assert await cloud.broken_rules() == []


async def test_call_may_be_repeated_at_any_node(cloud: Nodes) -> None:
    site = cloud.saved.site
    params: Json = {
        "name": "once",
        "imageUuid": site["image"],
        "l3NetworkUuids": [site["l3"]],
        "cpuNum": 1,
        "memorySize": 64 << 20,
    }
    body = msgspec.json.encode({"params": params})
    for node in NODES:
        status, answer = await cloud.post_as(node, "/vm-instances", body, job="0" * 31 + "1")
        assert status == 202, answer
    await cloud.clock.advance(20)

    assert len(await jobs(cloud)) == 1
    assert await vms(cloud) == {"once": "Running"}


async def test_call_that_names_what_another_node_still_makes_waits_for_that(cloud: Nodes) -> None:
    cloud.agents.dials.turn(Dial(command="vm.start", delay_seconds=20))
    made = []
    for number in range(6):
        job = await begin(cloud, A, f"vm-{number}")
        made.append(await resource(cloud, job))
    for vm in made:
        await change(cloud, B, {"uuid": vm}, "stopVmInstance")
    await cloud.clock.advance(5)
    assert set((await vms(cloud)).values()) == {"Starting"}

    await cloud.clock.advance(60)

    assert set((await vms(cloud)).values()) == {"Stopped"}
    assert await cloud.broken_rules() == []


async def resource(cloud: Nodes, job: str) -> str:
    row = await cloud.store.read(lambda tx: tx.get(Job, job))
    assert row is not None
    return row.ring_key


async def test_node_that_was_paused_can_write_nothing_when_it_wakes(cloud: Nodes) -> None:
    names = await begun_by_all(cloud)
    cloud.pause(C)
    cloud.agents.dials.clear()

    await cloud.clock.advance(60)
    assert await vms(cloud) == dict.fromkeys(names, "Running")
    assert await states(cloud) == {JobState.SUCCEEDED}
    rows = await jobs(cloud)

    cloud.wake(C)
    await cloud.clock.advance(60)

    assert await jobs(cloud) == rows
    assert await runs(cloud) == []
    assert await vms(cloud) == dict.fromkeys(names, "Running")
    assert await cloud.broken_rules() == []


async def test_node_that_was_declared_gone_and_does_not_know_it_changes_nothing(cloud: Nodes) -> None:
    await cloud.store.write(lambda tx: tx.delete(ManagementNode, C))

    names = [f"zone-{number}" for number in range(12)]
    for name in names:
        await cloud.request(C, "POST", "/zones", {"params": {"name": name}})

    made = [row.name for row in await cloud.store.read(lambda tx: tx.find(Zone)) if row.name in names]
    rows = await cloud.store.read(lambda tx: tx.find(Job, api="CreateZone", order_by="create_date"))
    assert 0 < len(made) < len(names)  # those of the other nodes' were passed on to them
    assert [row.state for row in rows[-len(made) :]] == [JobState.SUCCEEDED] * len(made)
    assert {row.state for row in rows} == {JobState.SUCCEEDED}
    assert C not in {row.node_uuid for row in rows}


async def test_drained_node_ends_what_it_has_and_gets_nothing_new(cloud: Nodes) -> None:
    names = await begun_by_all(cloud)
    at_work = {run.uuid for run in await runs(cloud) if run.node_uuid == C}

    await cloud.store.write(lambda tx: change_state(tx, C, NodeState.DRAINING))
    await cloud.clock.advance(3)
    for number in range(12):
        await begin(cloud, C, f"new-{number}")
        names.append(f"new-{number}")
    await cloud.clock.advance(3)

    assert {run.uuid for run in await runs(cloud) if run.node_uuid == C} == at_work
    await cloud.clock.advance(120)
    assert await vms(cloud) == dict.fromkeys(names, "Running")
    assert await states(cloud) == {JobState.SUCCEEDED}


async def test_jobs_that_wait_follow_the_ring(cloud: Nodes) -> None:
    cloud.kill(C)
    await cloud.clock.advance(20)
    for node in (A, B):
        await cloud.set_parallelism(node, 2)
    cloud.agents.dials.turn(Dial(command="vm.start", delay_seconds=30))
    for number in range(24):
        await begin(cloud, A, f"vm-{number}")
    await cloud.clock.advance(1)

    await cloud.start(C)
    await cloud.clock.advance(5)

    moved = [row for row in await jobs(cloud) if row.node_uuid == C]
    assert moved
    assert {row.state for row in moved} <= set(OPEN)
    cloud.agents.dials.clear()
    await cloud.clock.advance(400)
    assert await states(cloud) == {JobState.SUCCEEDED}
    assert await cloud.broken_rules() == []


async def owners_of_hosts(cloud: Nodes) -> list[NodeId]:
    hosts = await cloud.store.read(lambda tx: tx.find(Host))
    return [cloud.nodes[B].context.ring.node_of(host.uuid) for host in hosts]


async def test_commands_name_the_turn_and_its_owner_whichever_node_the_host_belongs_to(cloud: Nodes) -> None:
    await begun_by_all(cloud)
    claimed = {run.queue_key: (run.node_uuid, run.epoch) for run in await runs(cloud)}
    assert set(await owners_of_hosts(cloud)) < {node for node, _ in claimed.values()}

    await cloud.clock.advance(60)

    starts = [line for line in cloud.agents.book if line.command == "vm.start"]
    assert {turn.resource: (turn.node, turn.epoch) for line in starts if (turn := line.turn)} == claimed
    assert {line.fences[0].node for line in starts} == set(await owners_of_hosts(cloud))
    assert disorder(cloud.agents.book) == []


async def test_paused_node_commands_nothing_when_it_wakes_and_others_have_taken_over(cloud: Nodes) -> None:
    names = await begun_by_all(cloud)
    paused = (await owners_of_hosts(cloud))[0]  # it calls the agent there by itself
    cloud.pause(paused)
    cloud.agents.dials.clear()
    for host in cloud.world.hosts:
        cloud.agents.restart_agent(host)  # it has forgotten the tasks, so they are sent again
    await cloud.clock.advance(20)
    assert await vms(cloud) == dict.fromkeys(names, "Running")
    written = len(cloud.agents.book)

    cloud.wake(paused)
    await cloud.clock.advance(60)

    woken = [line for line in list(cloud.agents.book)[written:] if line.turn and line.turn.node == paused]
    assert {(line.command, line.refused) for line in woken} == {("vm.start", True)}
    assert disorder(cloud.agents.book) == []
    assert await vms(cloud) == dict.fromkeys(names, "Running")
    assert await runs(cloud) == []
    assert await cloud.broken_rules() == []
