from __future__ import annotations

from typing import ClassVar, Protocol

import pytest

from cairn.kernel.error import CairnError
from cairn.kernel.flow.step import NOTHING, Nothing, TransactionStep
from cairn.kernel.ids import RandomIds
from cairn.kernel.plugin.context import NodeContext
from cairn.kernel.plugin.manifest import Manifest
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.testing.clock import VirtualClock
from cairn.testing.rig import small_context, stop


class Doors(Protocol):
    def count(self) -> int: ...


class TwoDoors(Doors):
    def count(self) -> int:
        return 2


class Key:
    pass


class Open(TransactionStep[Nothing, Nothing]):
    name = "test-context.open"
    title = "opening"
    nothing_to_undo: ClassVar[str | None] = "it is a test"

    def __init__(self, doors: Doors, key: Key, tags: Tags, schema: Schema) -> None:
        self.doors, self.key, self.tags, self.schema = doors, key, tags, schema

    def do(self, tx: Tx, given: Nothing) -> Nothing:
        return NOTHING


def provide(node: NodeContext) -> None:
    node.provide(Doors, TwoDoors())


async def context(*manifests: Manifest) -> NodeContext:
    return await small_context(manifests, VirtualClock(), RandomIds(seed=1))


HOUSE = Manifest(package="tests.ports", doc="gives doors", build=provide, name="house")


async def test_what_one_package_provides_another_needs() -> None:
    needed: list[Doors] = []
    user = Manifest(
        package="tests.ports", doc="uses doors", build=lambda node: needed.append(node.need(Doors)), name="user"
    )
    node = await context(HOUSE, user)
    assert [doors.count() for doors in needed] == [2]
    await stop(node)


async def test_steps_are_made_of_the_kernels_parts_of_what_is_provided_and_of_what_build_returns() -> None:
    key = Key()
    opener = Manifest(package=__name__, doc="opens", build=lambda node: (key,), name="opener")
    node = await context(HOUSE, opener)
    (step,) = (step for step in node.steps if step.name == Open.name)
    assert isinstance(step, Open)
    assert (step.key, step.tags, step.schema) == (key, node.tags, node.store.schema)
    assert step.doors is node.need(Doors)
    await stop(node)


async def test_what_is_provided_twice_is_told() -> None:
    with pytest.raises(CairnError) as caught:
        await context(HOUSE, Manifest(package="tests.ports", doc="again", build=provide, name="again"))
    assert caught.value.code == "plugin.provided-twice"


async def test_what_nobody_provides_is_told_with_its_type() -> None:
    node = await context()
    with pytest.raises(CairnError, match=r"test_context\.Doors") as caught:
        node.need(Doors)
    assert caught.value.code == "plugin.not-provided"
    await stop(node)


async def test_the_workflow_engine_is_there_once_all_is_built() -> None:
    reached: list[object] = []

    def build(node: NodeContext) -> None:
        later = node.lazy_flows()
        with pytest.raises(AssertionError, match="after all services"):
            later()
        reached.append(later)

    node = await context(Manifest(package="tests.ports", doc="waits", build=build, name="waits"))
    (later,) = reached
    assert callable(later)
    assert later() is node.flows
    await stop(node)
