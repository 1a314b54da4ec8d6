from __future__ import annotations

from typing import Annotated, ClassVar

import pytest

from cairn.kernel.api import ApiQuery, Http, get
from cairn.kernel.config import Setting
from cairn.kernel.flow.step import NOTHING, Nothing, TransactionStep
from cairn.kernel.plugin.manifest import Loaded, Manifest
from cairn.kernel.store.record import Key, Record, TableMeta, Visible
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import TagDefinition

COLOR = Setting("test-manifest", "color", "red", doc="of everything")
SHAPES = (Setting("test-manifest", "round", True, doc="whether it is"), COLOR)
OWNER = TagDefinition("owner::{name}", "Thing", doc="whose it is")


class Thing(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="thing", entity="Thing", visible=Visible.PUBLIC)

    uuid: Annotated[str, Key()]


class Base(Record, frozen=True, kw_only=True):
    """Has no table of its own."""


class CountThings(ApiQuery[None], frozen=True, kw_only=True, tag="test-manifest.count"):
    """Count."""

    http: ClassVar[Http] = get("/things/count")


class LookAt(TransactionStep[Nothing, Nothing]):
    name = "test-manifest.look"
    title = "looking"
    nothing_to_undo: ClassVar[str | None] = "it only looks"

    def do(self, tx: Tx, given: Nothing) -> Nothing:
        return NOTHING


def test_what_the_modules_of_a_package_declare_is_its_own() -> None:
    manifest = Manifest(package=__name__, doc="this module")

    assert manifest.name == "test_manifest"
    assert manifest.records == (Thing,)
    assert manifest.api == (CountThings,)
    assert manifest.steps == (LookAt,)
    assert manifest.contents.settings == (COLOR, SHAPES[0])
    assert manifest.contents.tags == (OWNER,)
    assert manifest.workflow_file is manifest.migrations is None


def test_what_two_packages_name_belongs_to_the_one_that_is_loaded_first() -> None:
    first, second = Manifest(package=__name__, doc="a"), Manifest(package=__name__, doc="b", name="second")

    loaded = Loaded(manifests=(first, second))

    assert loaded.settings == (COLOR, SHAPES[0])
    assert loaded.tags == (OWNER,)


def test_a_package_that_cannot_be_imported_says_so() -> None:
    with pytest.raises(ModuleNotFoundError):
        _ = Manifest(package="cairn.no_such_package", doc="nothing").contents
