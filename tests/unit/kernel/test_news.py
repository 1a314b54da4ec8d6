from __future__ import annotations

from collections.abc import AsyncIterator, Collection

import pytest
from tests.unit.kernel.bus.conftest import Cloud, Node

from cairn.kernel.news import News, NewsCommitted
from cairn.testing.clock import VirtualClock


class Heard:
    """The news of a node, and what it heard of the others."""

    def __init__(self, node: Node, clock: VirtualClock) -> None:
        self.news = News(node.bus, node.ring, clock)
        self.events: list[list[str]] = []
        self.changes = 0
        self.loops: list[list[str]] = []
        self.news.listen(self._events, self._changed, self._loops)

    def _events(self, names: Collection[str]) -> None:
        self.events.append(list(names))

    def _changed(self) -> None:
        self.changes += 1

    def _loops(self, names: Collection[str]) -> None:
        self.loops.append(list(names))

    @property
    def all(self) -> tuple[object, ...]:
        return self.events, self.changes, self.loops


class World:
    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.clock = cloud.clock
        self.a, self.b, self.c = (Heard(node, cloud.clock) for node in cloud.nodes)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    cloud = Cloud(VirtualClock())
    for node in cloud.nodes:
        await node.bus.start()
    world = World(cloud)
    yield world
    for one in (world.a, world.b, world.c):
        await one.news.stop()
    for node in cloud.nodes:
        await node.bus.stop()


async def test_the_others_hear_at_once_and_one_hint_stands_for_all_of_a_moment(world: World) -> None:
    for name in ("vm.created", "vm.started", "vm.created"):
        world.a.news.emitted(name)
    world.a.news.changed()
    world.a.news.wanted("sweep")
    await world.clock.advance(0.1)

    expected = ([["vm.created", "vm.started"]], 1, [["sweep"]])
    assert world.b.all == world.c.all == expected
    assert world.a.all == ([], 0, [])
    world.a.news.changed()
    await world.clock.advance(0.1)
    assert world.b.all == ([["vm.created", "vm.started"]], 2, [["sweep"]])


async def test_a_node_that_is_alone_says_nothing(world: World) -> None:
    world.cloud.members([world.cloud.a], 2)
    assert world.a.news.alone
    heard: list[NewsCommitted] = []

    async def hear(news: NewsCommitted) -> None:
        heard.append(news)

    world.cloud.a.bus.subscribe(NewsCommitted, hear, "test")
    world.a.news.emitted("vm.created")
    world.a.news.changed()
    world.a.news.wanted("sweep")
    await world.clock.advance(10)
    assert heard == []


async def test_what_waits_when_the_node_stops_is_not_sent(world: World) -> None:
    world.a.news.changed()
    await world.a.news.stop()
    await world.clock.advance(1)
    assert world.b.changes == 0
