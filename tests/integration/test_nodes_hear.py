"""What one node knows, all know: settings, machines, sessions, events, queues; and what is done once, one of them does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
from tests.integration.test_nodes import NODES, NOTICED_SECONDS, Nodes, three_nodes

from cairn.agents.protocol import vm as agent
from cairn.agents.protocol.wire import Pong
from cairn.kernel.error import CairnError
from cairn.kernel.event import EventCursor, EventDelivery, EventRow
from cairn.kernel.ids import NodeId
from cairn.kernel.machine.machines import Machines
from cairn.services.host.config import MACHINE
from cairn.services.host.messages import ReconnectHost
from cairn.services.host.model import Host
from cairn.services.host.provided import HostAgents, HostSyncs
from cairn.services.ids import HostId
from cairn.services.l2.model import L2Network
from cairn.services.vm.messages import StrangeVmSeen
from cairn.simulator.dials import Dial
from cairn.testing.cloud import Json

A, B, C = NODES
ONE_TRY = {"updateGlobalConfig": {"value": "1"}}


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Nodes]:
    async with three_nodes(tmp_path) as made:
        yield made


def silence(cloud: Nodes) -> None:
    """Whatever nodes say to each other gets lost from now on."""
    cloud.network.drop = lambda source, target, envelope: True


async def hosts(cloud: Nodes) -> dict[str, Host]:
    return {row.name: row for row in await cloud.store.read(lambda tx: tx.find(Host))}


async def _hosts(cloud: Nodes) -> list[str]:
    return [row.uuid for row in (await hosts(cloud)).values()]


# -- what is remembered -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_silent", [False, True])
async def test_setting_is_in_force_on_all_nodes_at_once_or_after_a_second(cloud: Nodes, is_silent: bool) -> None:
    heard: list[NodeId] = []
    for node in NODES:
        cloud.nodes[node].context.config.listen(MACHINE.ping_interval, lambda node=node: heard.append(node))  # type: ignore[misc]
    if is_silent:
        silence(cloud)
    body = {"updateGlobalConfig": {"value": "7"}}
    node = next(one for one in NODES if one != A)
    status, _ = await cloud.request(node, "PUT", "/global-configurations/host/ping.interval/actions", body)
    assert status == 202
    await cloud.clock.advance(2.2 if is_silent else 0.2)

    assert [cloud.nodes[node].context.config.get(MACHINE.ping_interval) for node in NODES] == [7, 7, 7]
    assert sorted(heard) == NODES  # each listener once


async def test_host_that_is_back_is_called_by_a_node_that_began_while_it_was_lost(cloud: Nodes) -> None:
    cloud.agents.dials.turn(Dial(host="sim-0001", dead=True))
    cloud.kill(C)
    await cloud.clock.advance(300)
    await cloud.start(C)
    host = (await hosts(cloud))["sim-0001"]
    for node in NODES:
        with pytest.raises(CairnError, match="not connected"):
            await call(cloud, node, host)
    cloud.agents.dials.clear()
    await cloud.clock.advance(300)

    assert (await hosts(cloud))["sim-0001"].status.value == "Connected"
    for node in NODES:
        await call(cloud, node, host)


async def call(cloud: Nodes, node: NodeId, host: Host) -> None:
    await cloud.clock.run(cloud.nodes[node].context.need(HostAgents).call(host.uuid, agent.ListVms()))


async def test_session_that_ended_on_one_node_is_over_on_all_though_nobody_said_so(cloud: Nodes) -> None:
    for node in NODES:
        assert (await cloud.request(node, "GET", "/zones"))[0] == 200
    silence(cloud)
    await cloud.request(A, "DELETE", f"/accounts/sessions/{cloud.saved.session}")
    await cloud.clock.advance(1.2)

    assert [(await cloud.request(node, "GET", "/zones"))[0] for node in NODES] == [401, 401, 401]


async def test_call_that_fails_on_any_node_has_the_host_pinged_now_by_the_one_that_watches_it(cloud: Nodes) -> None:
    host = (await hosts(cloud))["sim-0001"]
    other = next(node for node in NODES if cloud.nodes[A].context.ring.node_of(host.uuid) != node)
    await cloud.clock.advance(1)
    cloud.agents.dials.turn(Dial(host="sim-0001", dead=True))
    with pytest.raises(CairnError):
        await call(cloud, other, host)
    await cloud.clock.advance(30)

    assert (await hosts(cloud))["sim-0001"].status.value == "Disconnected"


# -- events -----------------------------------------------------------------------------------------------------------


@contextmanager
def streams(cloud: Nodes) -> Iterator[dict[NodeId, list[float]]]:
    """A stream of strange VMs from each node, with the times at which it told of one."""
    heard: dict[NodeId, list[float]] = {node: [] for node in NODES}

    async def follow(node: NodeId) -> None:
        events = cloud.nodes[node].context.events
        async for row in events.stream(await cloud.store.read(events.last), names=frozenset({"vm.strange-seen"})):
            if row is not None:
                heard[node].append(cloud.clock.monotonic())

    tasks = [asyncio.ensure_future(follow(node)) for node in NODES]
    try:
        yield heard
    finally:
        for task in tasks:
            task.cancel()


async def strange(cloud: Nodes, node: NodeId, vm: str = "one") -> None:
    """Have a node tell of a strange VM."""
    context = cloud.nodes[node].context
    event = StrangeVmSeen(vm=vm, host="h", power="Running")
    await cloud.clock.run(context.store.write(lambda tx: context.events.emit(tx, event, resource=vm)))


@pytest.mark.parametrize(("is_silent", "seconds"), [(False, 0.2), (True, 1.2)])
async def test_streams_of_all_nodes_tell_of_an_event_at_once_or_after_a_second(
    cloud: Nodes, is_silent: bool, seconds: float
) -> None:
    with streams(cloud) as heard:
        await cloud.clock.advance(1)
        if is_silent:
            silence(cloud)
        before = cloud.clock.monotonic()
        await strange(cloud, B)
        await cloud.clock.advance(5)

    assert {node: len(times) for node, times in heard.items()} == dict.fromkeys(NODES, 1)
    assert all(times[0] - before <= seconds for times in heard.values())


class Told:
    """A durable subscriber that is there on all nodes, and what it was told by which."""

    def __init__(self, cloud: Nodes) -> None:
        self.by: list[tuple[NodeId, str]] = []
        self.fails = False
        self._cloud = cloud

    def subscribe(self, node: NodeId) -> None:
        async def hear(row: EventRow) -> None:
            if self.fails:
                raise RuntimeError("not now")
            self.by.append((node, str(row.content["vm"])))

        events = self._cloud.nodes[node].context.events
        events.subscribe("test.listener", {"vm.strange-seen"}, hear, durable=True)

    async def cursor(self) -> EventCursor:
        found = await self._cloud.store.read(lambda tx: tx.get(EventCursor, "test.listener"))
        assert found is not None
        return found


@pytest.fixture
async def told(cloud: Nodes) -> Told:
    """The subscriber, on nodes that were all started with it."""
    told = Told(cloud)
    for node in NODES:
        events = cloud.nodes[node].context.events
        await cloud.clock.run(events.stop())
        told.subscribe(node)
    for node in NODES:
        await cloud.clock.run(cloud.nodes[node].context.events.start())
    await cloud.clock.advance(1)
    return told


async def test_durable_subscriber_is_told_by_one_node_whoever_emits(cloud: Nodes, told: Told) -> None:
    for number, node in enumerate(NODES):
        await strange(cloud, node, f"vm-{number}")
    await cloud.clock.advance(2)

    owner = cloud.nodes[A].context.ring.node_of("subscriber:test.listener")
    assert sorted(told.by) == [(owner, "vm-0"), (owner, "vm-1"), (owner, "vm-2")]
    assert (await told.cursor()).node_uuid == owner


async def test_another_node_goes_on_where_the_one_that_died_has_stopped(cloud: Nodes, told: Told) -> None:
    owner = cloud.nodes[A].context.ring.node_of("subscriber:test.listener")
    await strange(cloud, owner, "before")
    await cloud.clock.advance(2)
    cloud.kill(owner)
    rest = [node for node in NODES if node != owner]
    await strange(cloud, rest[0], "meanwhile")
    await cloud.clock.advance(NOTICED_SECONDS)
    await strange(cloud, rest[1], "after")
    await cloud.clock.advance(2)

    heir = cloud.nodes[rest[0]].context.ring.node_of("subscriber:test.listener")
    assert told.by == [(owner, "before"), (heir, "meanwhile"), (heir, "after")]


async def test_node_whose_cursor_was_taken_writes_nothing_more(cloud: Nodes, told: Told) -> None:
    owner = cloud.nodes[A].context.ring.node_of("subscriber:test.listener")
    thief = next(node for node in NODES if node != owner)
    before = await told.cursor()
    stolen = {"node_uuid": thief, "epoch": before.epoch + 1}
    await cloud.store.write(lambda tx: tx.update(EventCursor, "test.listener", **stolen))
    await strange(cloud, owner)
    await cloud.clock.advance(5)
    assert told.by == [(owner, "one")]  # it could not know
    now = await told.cursor()
    assert (now.sequence, now.node_uuid) == (before.sequence, thief)

    await cloud.clock.advance(10)  # the thief is not whom the ring names, and does not give it up
    now = await told.cursor()
    assert now.node_uuid == owner
    assert now.sequence > before.sequence
    assert told.by == [(owner, "one"), (owner, "one")]


async def test_cursors_are_handed_over_to_a_node_that_joins(cloud: Nodes) -> None:
    cloud.kill(C)
    await cloud.clock.advance(NOTICED_SECONDS)
    await cloud.start(C)
    await cloud.clock.advance(NOTICED_SECONDS)

    cursors = await cloud.store.read(lambda tx: tx.find(EventCursor))
    ring = cloud.nodes[C].context.ring
    assert len(cursors) >= 3
    assert {row.name: row.node_uuid for row in cursors} == {
        row.name: ring.node_of(f"subscriber:{row.name}") for row in cursors
    }


async def test_event_that_was_set_aside_is_told_again_through_any_node(cloud: Nodes, told: Told) -> None:
    await cloud.request(A, "PUT", "/global-configurations/event/delivery.maxTries/actions", ONE_TRY)
    await cloud.clock.advance(2)
    told.fails = True
    await strange(cloud, B)
    await cloud.clock.advance(5)
    told.fails = False
    aside = await cloud.store.read(lambda tx: tx.find(EventDelivery, subscriber="test.listener"))
    assert [row.state.value for row in aside] == ["SetAside"]
    owner = cloud.nodes[A].context.ring.node_of("subscriber:test.listener")
    other = next(node for node in NODES if node != owner)
    path = f"/event-deliveries/{aside[0].uuid}/actions"
    status, _ = await cloud.request(other, "PUT", path, {"retryEventDelivery": {}})
    assert status == 202
    await cloud.clock.advance(2)

    assert told.by == [(owner, "one")]
    assert await cloud.store.read(lambda tx: tx.count(EventDelivery)) == 0


# -- what one node does for all ---------------------------------------------------------------------------------------


async def test_each_machine_is_pinged_by_one_node_whoever_comes_and_goes(cloud: Nodes) -> None:
    pings: list[tuple[str, NodeId]] = []
    hosts = await _hosts(cloud)

    def note(node: NodeId) -> None:
        client = cloud.nodes[node].context.need(Machines).of(ReconnectHost(uuid=""))
        ping, life = client.ping, cloud.lives[node]

        async def noted(uuid: str, *, timeout_seconds: float) -> Pong:
            if not life.dead:
                pings.append((uuid, node))
            return await ping(uuid, timeout_seconds=timeout_seconds)

        client.ping = noted  # type: ignore[method-assign]

    async def seen() -> dict[str, set[NodeId]]:
        pings.clear()
        await cloud.clock.advance(120)
        return {uuid: {node for one, node in pings if one == uuid} for uuid in hosts}

    def owners() -> dict[str, set[NodeId]]:
        ring = next(iter(cloud.nodes.values())).context.ring
        return {uuid: {ring.node_of(uuid)} for uuid in hosts}

    for node in NODES:
        note(node)
    assert await seen() == owners()
    gone = next(iter(owners()[hosts[0]]))
    cloud.kill(gone)
    await cloud.clock.advance(NOTICED_SECONDS)
    assert await seen() == owners()
    await cloud.start(gone)
    note(gone)
    await cloud.clock.advance(NOTICED_SECONDS)
    assert await seen() == owners()
    assert {gone} in owners().values()


# -- what is known of all nodes ---------------------------------------------------------------------------------------


async def test_queues_of_all_nodes_are_shown_by_any_and_one_that_does_not_answer_is_named(cloud: Nodes) -> None:
    cloud.agents.dials.turn(Dial(command="vm.start", delay_seconds=60))
    site = cloud.saved.site
    for number in range(9):
        params = {"name": f"vm-{number}", "imageUuid": site["image"], "l3NetworkUuids": [site["l3"]], "cpuNum": 1}
        await cloud.request(A, "POST", "/vm-instances", {"params": {**params, "memorySize": 64 << 20}})
    await cloud.clock.advance(5)
    answers = [(await cloud.request(node, "GET", "/resource-queues?prefix=vm:"))[1] for node in NODES]
    keys = [sorted(str(queue["key"]) for queue in cast("list[Json]", answer["inventories"])) for answer in answers]
    assert len(keys[0]) == 9
    assert keys[0] == keys[1] == keys[2]
    assert {str(queue["nodeUuid"]) for queue in cast("list[Json]", answers[0]["inventories"])} == set(NODES)
    assert not answers[0]["silent"]

    cloud.network.cut(A, B)
    _, answer = await cloud.request(A, "GET", "/resource-queues")
    assert list(cast("Json", answer["silent"])) == [B]


async def failing(cloud: Nodes) -> dict[NodeId, set[tuple[str, str]]]:
    """By node: the hosts, and their L2 networks, that it takes for failing."""
    networks = [row.uuid for row in await cloud.store.read(lambda tx: tx.find(L2Network))]
    names = {row.uuid: name for name, row in (await hosts(cloud)).items()}
    return {
        node: {
            (names[host], l2)
            for host in names
            for l2 in networks
            if built.context.need(HostSyncs).failing(HostId(host), "l2", l2) is not None
        }
        for node, built in cloud.nodes.items()
    }


async def test_all_nodes_know_what_fails_on_a_host_and_when_it_does_not_any_more(cloud: Nodes) -> None:
    bad = "sim-0001"
    host = (await hosts(cloud))[bad].uuid
    (l2,) = [row.uuid for row in await cloud.store.read(lambda tx: tx.find(L2Network))]
    for command in ("network.ensure-vxlan", "network.change-vxlan-peers"):
        cloud.agents.dials.turn(Dial(host=bad, command=command, error_rate=1.0))
    silence(cloud)  # nobody is told on the bus
    owner = cloud.nodes[A].context.ring.node_of(host)
    await cloud.clock.run(cloud.nodes[owner].context.bus.here(ReconnectHost(uuid=host)))
    await cloud.clock.advance(1.5)
    assert await failing(cloud) == {key: {(bad, l2)} for key in NODES}

    cloud.network.drop = lambda source, target, envelope: False
    cloud.kill(owner)
    await cloud.clock.advance(NOTICED_SECONDS)
    assert await failing(cloud) == {key: {(bad, l2)} for key in cloud.nodes}
    cloud.agents.dials.clear()
    await cloud.clock.advance(62)
    assert await failing(cloud) == {key: set() for key in cloud.nodes}


def told_names(cloud: Nodes, host: str) -> list[str]:
    """The names of VMs on other hosts that a host's server answers."""
    (server,) = cloud.world.hosts[host].dhcp.values()
    own = {entry.ip for entry in server.entries.values()}
    return sorted(name for ip, name in server.names.items() if ip not in own)


async def test_hosts_know_the_names_of_all_vms_whichever_nodes_make_and_stop_them(cloud: Nodes) -> None:
    made = [await cloud.create_vm(NODES[number % 3], f"vm-{number}") for number in range(9)]
    await cloud.clock.advance(10)
    made.append(await cloud.create_vm(A, "last"))
    await cloud.clock.advance(10)
    names = {row.uuid: name for name, row in (await hosts(cloud)).items()}
    where = {str(vm["name"]): names[HostId(str(vm["hostUuid"]))] for vm in made}
    assert len(set(where.values())) == 2
    for host in set(where.values()):
        assert told_names(cloud, host) == sorted(name for name, place in where.items() if place != host)

    last = str(made[-1]["uuid"])
    cloud.kill(cloud.nodes[A].context.ring.node_of(last))
    await cloud.clock.advance(NOTICED_SECONDS)
    path = f"/vm-instances/{last}/actions"
    status, _ = await cloud.request(next(iter(cloud.nodes)), "PUT", path, {"stopVmInstance": {}})
    assert status == 202
    await cloud.clock.advance(20)
    del where["last"]
    for host in set(where.values()):
        assert told_names(cloud, host) == sorted(name for name, place in where.items() if place != host)
