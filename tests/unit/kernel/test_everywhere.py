from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from msgspec import Struct
from tests.unit.kernel.bus.conftest import NODES, Cloud, Node

from cairn.kernel.bus.message import Query
from cairn.kernel.duty import Duties
from cairn.kernel.everywhere import ask_everywhere
from cairn.testing.clock import VirtualClock


class Weather(Struct, frozen=True):
    at: str


class AskWeather(Query[Weather], frozen=True, kw_only=True, tag="test-everywhere.weather"):
    """How it is where a node stands."""


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    cloud = Cloud(VirtualClock())
    for node in cloud.nodes:
        await node.bus.start()
        _answer(node)
    yield cloud
    for node in cloud.nodes:
        await node.bus.stop()


def _answer(node: Node) -> None:
    async def weather(_: AskWeather) -> Weather:
        return Weather(at=node.id)

    node.bus.register(AskWeather, weather)


async def test_each_node_answers_for_itself_and_one_that_does_not_is_named_with_the_reason(cloud: Cloud) -> None:
    duties = Duties(cloud.a.id, cloud.a.ring)
    answers = await cloud.clock.run(ask_everywhere(cloud.a.bus, duties, AskWeather(), timeout_seconds=2))
    assert {node: answer.at for node, answer in answers.found.items()} == {node: node for node in NODES}
    assert answers.silent == {}

    cloud.network.cut(NODES[0], NODES[1])
    before = cloud.clock.monotonic()
    answers = await cloud.clock.run(ask_everywhere(cloud.a.bus, duties, AskWeather(), timeout_seconds=2))
    assert sorted(answers.found) == [NODES[0], NODES[2]]
    assert {node: error.code for node, error in answers.silent.items()} == {NODES[1]: "bus.deadline-passed"}
    assert cloud.clock.monotonic() - before <= 2.1


async def test_a_bug_is_no_silence(cloud: Cloud) -> None:
    with pytest.raises(AttributeError):
        await cloud.clock.run(
            ask_everywhere(cloud.a.bus, Duties(cloud.a.id, cloud.a.ring), None, timeout_seconds=2)  # type: ignore[arg-type]
        )
