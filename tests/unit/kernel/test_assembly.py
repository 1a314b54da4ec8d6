from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from cairn.kernel.api import ApiChange, Http, Reference, action
from cairn.kernel.assembly import make_schema, workflow_sources
from cairn.kernel.bus.handlers import handles
from cairn.kernel.error import CairnError
from cairn.kernel.flow.step import NOTHING, Nothing, TransactionStep
from cairn.kernel.flow.workflow import WorkflowSource, workflow
from cairn.kernel.ids import RandomIds
from cairn.kernel.manifest import MANIFEST as KERNEL
from cairn.kernel.plugin.context import NodeContext
from cairn.kernel.plugin.manifest import Loaded, Manifest
from cairn.kernel.settings import Settings
from cairn.kernel.store.store import Tx
from cairn.services.zone.manifest import MANIFEST as ZONE
from cairn.testing.clock import VirtualClock
from cairn.testing.rig import small_context, stop

LIST = '[workflow."test-assembly.turn"]\nsteps = ["test-assembly.look"]\n'


class Turn(ApiChange, frozen=True, kw_only=True, tag="test-assembly.turn"):
    """Turn a wheel."""

    http: ClassVar[Http] = action("/wheels/{uuid}/actions", "turn")
    entity: ClassVar[str | None] = "Wheel"


class Look(TransactionStep[Nothing, Nothing]):
    name = "test-assembly.look"
    title = "looking"
    nothing_to_undo: ClassVar[str | None] = "it only looks"

    def do(self, tx: Tx, given: Nothing) -> Nothing:
        return NOTHING


TURN = workflow(Turn)


class Wheels:
    @handles(Turn)
    async def turn(self, message: Turn) -> Reference:
        return Reference(uuid=message.uuid)


async def context(*manifests: Manifest, sources: tuple[WorkflowSource, ...] = ()) -> NodeContext:
    return await small_context(manifests, VirtualClock(), RandomIds(seed=1), sources=sources)


def wheels(by_hand: bool = False) -> Manifest:
    def build(node: NodeContext) -> None:
        if by_hand:
            node.bus.serve(Wheels())

    return Manifest(package=__name__, doc="turns", build=build)


async def test_a_call_that_no_service_handles_is_answered_by_its_workflow() -> None:
    node = await context(wheels(), sources=(WorkflowSource(name="test", text=LIST),))
    assert node.bus.handles(Turn)
    assert [step.name for step in node.flows.book.effective("test-assembly.turn").steps] == ["test-assembly.look"]
    await stop(node)


async def test_a_service_that_handles_a_call_comes_before_its_workflow() -> None:
    node = await context(wheels(by_hand=True), sources=(WorkflowSource(name="test", text=LIST),))
    assert node.bus.handles(Turn)
    await stop(node)


async def test_a_workflow_without_a_list_is_told() -> None:
    with pytest.raises(CairnError) as caught:
        await context(wheels())
    assert caught.value.code.startswith("workflow.")


def test_tables_are_those_of_all_packages() -> None:
    tables = set(make_schema(Loaded(manifests=(KERNEL, ZONE))).by_table)
    assert {"resource", "job", "zone"} <= tables


def test_workflow_files_are_the_owners_then_the_operators_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "workflows.d"
    folder.mkdir()
    for name in ("b.toml", "a.toml", "notes.txt"):
        (folder / name).write_text(LIST)
    loaded = Loaded(manifests=(KERNEL, ZONE))
    names = [source.name for source in workflow_sources(loaded, Settings(data_dir=tmp_path))]
    assert names == ["services/zone/workflows.toml", str(folder / "a.toml"), str(folder / "b.toml")]
    other = [source.name for source in workflow_sources(loaded, Settings(data_dir=Path("x"), workflow_dir=str(folder)))]
    assert other == names
