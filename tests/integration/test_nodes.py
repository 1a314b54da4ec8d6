"""Three nodes in one process, on one database, joined by a network in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import cast

import msgspec
import pytest
from tests.flows.rules import SeenHost, broken
from tests.flows.world import all_rows
from tests.integration.conftest import saved_site

from cairn.bootstrap import Node
from cairn.kernel.bus.transport import MemoryNetwork
from cairn.kernel.error import CairnError
from cairn.kernel.ids import NodeId, RandomIds
from cairn.kernel.membership import ManagementNode
from cairn.kernel.settings import load
from cairn.kernel.store.store import Store, Tx
from cairn.simulator.agents import SimulatedAgents
from cairn.simulator.control import inspect_host
from cairn.simulator.world import World
from cairn.testing.clock import VirtualClock
from cairn.testing.cloud import (
    ADMIN_PASSWORD,
    SEALS,
    Json,
    Life,
    MortalStore,
    MortalTransport,
    Saved,
    StandInInstaller,
    asgi,
    parts_of,
)
from cairn.testing.stores import private_store
from cairn.testing.transport import MemoryTransport

NODES = [NodeId(letter * 32) for letter in "abc"]  # the first is the one that made the site
NOTICED_SECONDS = 20


class Nodes:
    """Nodes that share a database and hosts."""

    def __init__(self, saved: Saved, clock: VirtualClock, store: Store, folder: Path) -> None:
        self.saved = saved
        self.clock = clock
        self.store = store
        self.folder = folder
        self.world = msgspec.json.decode(saved.world, type=World)
        self.agents = SimulatedAgents(self.world, clock)
        self.network = MemoryNetwork(clock)
        self.lives: dict[NodeId, Life] = {}
        self.nodes: dict[NodeId, Node] = {}

    async def start(self, node: NodeId, **settings: str) -> None:
        """Bring a node up."""
        life = self.lives[node] = Life()
        loaded, _ = parts_of(settings.get("plugins_disabled", ""), "")
        built = await Node.build(
            load({}, data_dir=self.folder / node, admin_password=ADMIN_PASSWORD, **settings),
            clock=self.clock,
            ids=RandomIds(1000 + len(self.nodes)),  # none of those of the site
            store=MortalStore(self.store, life),
            agent_transport=MortalTransport(MemoryTransport(self.agents.handle, self.clock), life),
            bus_transport=self.network.transport(node),
            node=node,
            loaded=loaded,
            installer=StandInInstaller(),
            predecessor_dead=node == NODES[0],
        )
        self.nodes[node] = built
        await self.clock.run(built.start(serve=False))

    def kill(self, node: NodeId) -> None:
        """From here on it reaches neither the database nor hosts nor other nodes."""
        self.lives[node].dead = True
        self.network.detach(node)
        del self.nodes[node]

    def pause(self, node: NodeId) -> None:
        """Stop a node where it stands, as SIGSTOP does."""
        self.lives[node].pause()
        for other in self.nodes:
            if other != node:
                self.network.cut(node, other)

    def wake(self, node: NodeId) -> None:
        """Let a paused node go on."""
        self.network.mend()
        self.lives[node].wake()

    async def set_parallelism(self, node: NodeId, number: int) -> None:
        """How many jobs a node runs at a time."""
        body = {"updateGlobalConfig": {"value": str(number)}}
        status, answer = await self.request(node, "PUT", "/global-configurations/api/parallelism/actions", body)
        assert status == 202, answer
        await self.clock.advance(1)

    async def post_as(self, node: NodeId, path: str, body: bytes, *, job: str) -> tuple[int, Json]:
        """A call with a job id of the caller's."""
        headers = {
            "content-type": "application/json",
            "authorization": f"OAuth {self.saved.session}",
            "x-job-uuid": job,
        }
        return await self.clock.run(asgi(self.nodes[node], "POST", f"/v1{path}", body, headers))

    async def request(self, node: NodeId, verb: str, path: str, body: object = None) -> tuple[int, Json]:
        """A call to one of the nodes."""
        return await self.clock.run(self.send(node, verb, path, body))

    def send(
        self, node: NodeId, verb: str, path: str, body: object = None
    ) -> Coroutine[object, object, tuple[int, Json]]:
        """A call to one of the nodes, while somebody else moves the clock."""
        raw = b"" if body is None else msgspec.json.encode(body)
        headers = {"content-type": "application/json", "authorization": f"OAuth {self.saved.session}"}
        return asgi(self.nodes[node], verb, f"/v1{path}", raw, headers)

    async def create_vm(self, node: NodeId, name: str) -> Json:
        """Make a VM through a node, and wait for it there."""
        site = self.saved.site
        params = {"name": name, "imageUuid": site["image"], "l3NetworkUuids": [site["l3"]], "cpuNum": 1}
        body = {"params": {**params, "memorySize": 64 << 20}}
        status, answer = await self.request(node, "POST", "/vm-instances", body)
        assert status == 202, answer
        _, job = await self.request(node, "GET", f"/api-jobs/{answer['uuid']}?wait=60")
        assert job["state"] == "Succeeded", job
        return cast("Json", cast("Json", job["result"])["inventory"])

    def handled(self, node: NodeId, message: str) -> bool:
        """Whether a node has handled such a message itself."""
        text = self.nodes[node].context.metrics.render().decode()
        return any(f'message="{message}"' in line for line in text.splitlines() if not line.startswith("#"))

    async def broken_rules(self) -> list[str]:
        """What is wrong between the database and the hosts."""

        def fn(tx: Tx) -> list[str]:
            loaded, _ = parts_of("", "")
            rows = all_rows(tx, [record for manifest in loaded.manifests for record in manifest.records])
            seen = {name: inspect_host(host) for name, host in self.world.hosts.items()}
            return broken(rows, msgspec.json.decode(msgspec.json.encode(seen), type=dict[str, SeenHost]))

        return await self.store.read(fn)


@asynccontextmanager
async def three_nodes(folder: Path) -> AsyncIterator[Nodes]:
    """Three nodes that know each other; ended on leaving."""
    saved = await saved_site()
    clock = VirtualClock(saved.time)
    before = asyncio.all_tasks()
    store = await private_store(parts_of("", "")[1], clock, inline=True, content=saved.content, seals=SEALS)
    cloud = Nodes(saved, clock, store, folder)
    for node in NODES:
        await cloud.start(node)
    await clock.advance(NOTICED_SECONDS)
    try:
        yield cloud
    finally:
        for life in cloud.lives.values():
            life.dead = True
        for task in asyncio.all_tasks() - before - {asyncio.current_task()}:
            task.cancel()
            with suppress(BaseException):
                await asyncio.wait([task], timeout=5)
        await store.close()


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Nodes]:
    async with three_nodes(tmp_path) as made:
        yield made


async def test_nodes_know_each_other(cloud: Nodes) -> None:
    for node in NODES:
        _, answer = await cloud.request(node, "GET", "/management-nodes")
        assert sorted(str(row["uuid"]) for row in cast("list[Json]", answer["inventories"])) == NODES
        assert {cloud.nodes[node].context.ring.node_of(f"key-{number}") for number in range(100)} == set(NODES)


async def test_call_to_any_node_is_done_by_the_one_that_the_ring_names(cloud: Nodes) -> None:
    names: list[str] = []
    for number in range(12):
        vm = await cloud.create_vm(NODES[number % 3], f"vm-{number}")
        names.append(str(vm["name"]))
    assert all(cloud.handled(node, "vm.create") for node in NODES)
    for node in NODES:
        _, answer = await cloud.request(node, "GET", "/vm-instances")
        assert sorted(str(row["name"]) for row in cast("list[Json]", answer["inventories"])) == sorted(names)
    assert await cloud.broken_rules() == []


async def test_vm_made_through_one_node_is_stopped_through_another(cloud: Nodes) -> None:
    for number in range(6):
        vm = await cloud.create_vm(NODES[0], f"vm-{number}")
        status, answer = await cloud.request(
            NODES[1], "PUT", f"/vm-instances/{vm['uuid']}/actions", {"stopVmInstance": {}}
        )
        assert status == 202
        _, job = await cloud.request(NODES[1], "GET", f"/api-jobs/{answer['uuid']}?wait=60")
        assert job["state"] == "Succeeded", job
        _, found = await cloud.request(NODES[2], "GET", f"/vm-instances/{vm['uuid']}")
        assert cast("list[Json]", found["inventories"])[0]["state"] == "Stopped"
    assert await cloud.broken_rules() == []


async def test_node_that_dies_is_noticed_and_the_others_do_its_work(cloud: Nodes) -> None:
    cloud.kill(NODES[2])
    await cloud.clock.advance(NOTICED_SECONDS)
    for number in range(9):
        await cloud.create_vm(NODES[number % 2], f"vm-{number}")
    _, answer = await cloud.request(NODES[0], "GET", "/management-nodes")
    assert sorted(str(row["uuid"]) for row in cast("list[Json]", answer["inventories"])) == NODES[:2]
    assert await cloud.broken_rules() == []


async def test_node_with_other_plugins_is_refused_unless_they_are_changed_node_by_node(cloud: Nodes) -> None:
    cloud.kill(NODES[2])
    await cloud.clock.advance(NOTICED_SECONDS)

    with pytest.raises(CairnError, match=r"node\.plugins-differ"):
        await cloud.start(NODES[2], plugins_disabled="flat_network")
    assert [node.uuid for node in await cloud.store.read(lambda tx: tx.find(ManagementNode))] == NODES[:2]

    await cloud.start(NODES[2], plugins_disabled="flat_network", plugins_rolling="flat_network")
    rows = await cloud.store.read(lambda tx: tx.find(ManagementNode))
    assert {row.uuid: "flat_network" in (row.plugins or {}) for row in rows} == {
        NODES[0]: True,
        NODES[1]: True,
        NODES[2]: False,
    }
