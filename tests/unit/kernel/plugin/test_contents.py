"""What a package declares, found in a package that is written for the test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cairn.kernel.plugin.contents import contents

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Makes a package of the texts of its modules, to be imported under the name that it returns."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def make(**modules: str) -> str:
        for name, text in {"__init__": "", **modules}.items():
            path = tmp_path / "written_for_a_test" / f"{name.replace('__in__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"from __future__ import annotations\n{text}")
        return "written_for_a_test"

    yield make
    for name in set(sys.modules) - before:
        if name.startswith("written_for_a_test"):
            del sys.modules[name]


MODEL = """
from typing import Annotated, ClassVar
from cairn.kernel.store.record import Key, Record, TableMeta

class Base(Record, frozen=True, kw_only=True):
    '''No table.'''

class Box(Base, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="written_box")
    uuid: Annotated[str, Key()]
"""
MESSAGES = """
from typing import ClassVar
from cairn.kernel.api import ApiQuery, Http, get
from written_for_a_test.model import Box

class CountBoxes(ApiQuery[None], frozen=True, kw_only=True, tag="written-for-a-test.count"):
    http: ClassVar[Http] = get("/boxes/count")
"""
STEPS = """
from cairn.kernel.flow.step import NOTHING, Nothing, TransactionStep

class Look(TransactionStep[Nothing, Nothing]):
    name = "written.look"
    title = "looking"
    nothing_to_undo = "it only looks"
    def do(self, tx, given):
        return NOTHING
"""
CONFIG = """
from cairn.kernel.config import Setting

SIZE = Setting("written", "size", 1, minimum=0, maximum=9, doc="of boxes")
COLOR = Setting("written", "color", "red", doc="of boxes")
ALL = (SIZE, COLOR)
"""


def test_classes_belong_to_the_module_that_defines_them(write: Write) -> None:
    found = contents(write(model=MODEL, messages=MESSAGES))
    assert [record.__name__ for record in found.records] == ["Box"]
    assert [api.__name__ for api in found.api] == ["CountBoxes"]


def test_modules_are_looked_through_in_the_order_of_their_names_and_folders_as_well(write: Write) -> None:
    other = STEPS.replace("Look", "Listen").replace("written.look", "written.listen")
    found = contents(write(steps__in____init__="", steps__in__see=STEPS, steps__in__hear=other))
    assert [step.__name__ for step in found.steps] == ["Listen", "Look"]


def test_values_are_found_alone_or_in_a_tuple_and_once(write: Write) -> None:
    imports = "from written_for_a_test.config import COLOR\n"
    found = contents(write(config=CONFIG, service=imports))
    assert [setting.name for setting in found.settings] == ["size", "color"]


def test_migrations_and_playbooks_are_left_alone(write: Write) -> None:
    broken = "raise RuntimeError('imported')"
    package = write(ansible__in____init__=broken, migrations__in____init__=broken)
    assert contents(package).records == ()


def test_a_module_that_cannot_be_imported_is_told_with_its_own_error(write: Write) -> None:
    package = write(service="raise RuntimeError('no boxes')")
    with pytest.raises(RuntimeError, match="no boxes"):
        contents(package)


def test_an_audit_is_found_once_however_many_modules_have_it(write: Write) -> None:
    audit = "from cairn.kernel.health import Audit\nBOOKS = Audit('boxes', 'Count again.', lambda tx: ())\n"
    found = contents(write(model=audit, service="from written_for_a_test.model import BOOKS\n"))
    assert [one.name for one in found.audits] == ["boxes"]
