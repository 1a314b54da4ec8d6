from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import pytest
from tests.unit.services.network_rig import CLUSTER, OTHER_CLUSTER, Rig

from cairn.kernel.store.store import Tx
from cairn.services.ids import L2NetworkId
from cairn.services.l2.attachments import attach, clusters_of, detach
from cairn.services.l2.extensions import L2AttachmentChanged
from cairn.services.l2.manifest import MANIFEST as L2

T = TypeVar("T")


class Told(L2AttachmentChanged):
    def __init__(self) -> None:
        self.networks: list[str] = []

    def l2_attachment_changed(self, tx: Tx, l2_network: L2NetworkId) -> None:
        self.networks.append(l2_network)


class World:
    def __init__(self, rig: Rig, network: L2NetworkId) -> None:
        self.rig = rig
        self.network = network
        self.told = Told()
        self.extensions = rig.context.extensions
        self.extensions.provide(L2AttachmentChanged, self.told, name="test")

    async def do(self, fn: Callable[[Tx], T]) -> T:
        return await self.rig.context.store.write(fn)

    async def clusters(self) -> set[str]:
        return set(await self.do(lambda tx: clusters_of(tx, self.network)))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    rig = await Rig().start([L2])
    world = World(rig, await rig.l2())
    await world.do(lambda tx: detach(tx, world.extensions, world.network, [CLUSTER, OTHER_CLUSTER]))
    world.told.networks.clear()
    yield world
    await rig.stop()


async def test_attaching_twice_is_attaching_once_and_listeners_are_told(world: World) -> None:
    for _ in range(2):
        await world.do(lambda tx: attach(tx, world.extensions, world.network, [CLUSTER, OTHER_CLUSTER]))
    assert await world.clusters() == {CLUSTER, OTHER_CLUSTER}
    assert set(world.told.networks) == {world.network}


async def test_detaching_tells_how_many_had_it(world: World) -> None:
    await world.do(lambda tx: attach(tx, world.extensions, world.network, [CLUSTER]))
    assert len(await world.do(lambda tx: detach(tx, world.extensions, world.network, [CLUSTER, OTHER_CLUSTER]))) == 1
    assert await world.do(lambda tx: detach(tx, world.extensions, world.network, [CLUSTER])) == []
    assert await world.clusters() == set()


async def test_other_networks_stay_where_they_are(world: World) -> None:
    await world.do(lambda tx: attach(tx, world.extensions, world.network, [CLUSTER]))
    await world.do(lambda tx: detach(tx, world.extensions, L2NetworkId("other"), [CLUSTER]))
    assert await world.clusters() == {CLUSTER}
