"""A plugin that does something wrong costs the cloud that plugin, and nothing else."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cairn.bootstrap import Node
from cairn.kernel.settings import load
from cairn.testing.cloud import Cloud, Refused

_NUMBER = itertools.count()
MANIFEST = """
from cairn.kernel.plugin.manifest import Manifest

{more}

MANIFEST = Manifest(package=__package__, doc="x", requires={requires!r}, **{given})
"""
BUILD = "def build(node):\n    {body}"
RECORD = """
from typing import Annotated, ClassVar
from cairn.kernel.store.record import Key, Record, TableMeta, Visible

class Thing(Record, frozen=True, kw_only=True):
    '''A thing.'''
    meta: ClassVar[TableMeta] = TableMeta(table="{table}", entity="{table}"{visible})
    uuid: Annotated[str, Key()]
    colour: str
"""
SCRIPT = """
import sqlalchemy as sa
from alembic import op
from cairn.kernel.store import types

revision = "{name}_0001"
down_revision = None
branch_labels = None
depends_on = None

def upgrade():
    op.create_table("{table}", sa.Column("uuid", types.Id(), nullable=False), sa.PrimaryKeyConstraint("uuid"), sqlite_strict=True)
    {more}
"""
STEP = """
from typing import ClassVar
from msgspec import Struct
from cairn.kernel.flow.step import NOTHING, Nothing, TransactionStep
from cairn.kernel.store.store import Tx

class Given(Struct, frozen=True, kw_only=True):
    uuid: str

class Trip(TransactionStep[Given, Nothing]):
    '''Trip over a mistake.'''
    name = "{name}.trip"
    title = "tripping"
    nothing_to_undo: ClassVar[str | None] = "it is a test"

    def do(self, tx, given):
        return {{}}["missing"]
"""


class Plugins:
    """Writes plugins of names that no other test has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = []

    def write(
        self, *, build: str = "", requires: tuple[str, ...] = (), more: str = "", **files: str | Callable[[str], str]
    ) -> str:
        """A plugin; its name. `build`: the body of its function. Names of files have ``__`` for a slash."""
        name = f"bad_{next(_NUMBER)}"
        self.names.append(name)
        given = "dict(build=build)" if build else "{}"
        text = "\n".join((more, BUILD.format(body=build) if build else ""))
        self._file(name, "__init__.py", "")
        self._file(name, "manifest.py", MANIFEST.format(more=text, requires=requires, given=given))
        for path, content in files.items():
            stem, _, suffix = path.replace("__", "/").rpartition("_")
            self._file(name, f"{stem}.{suffix}", content if isinstance(content, str) else content(name))
        importlib.invalidate_caches()
        return name

    def _file(self, name: str, path: str, content: str) -> None:
        file = self.folder / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")

    @property
    def settings(self) -> dict[str, str]:
        """The settings of a node that has them all."""
        return {"plugins_extra": ",".join(f"{name}.manifest" for name in self.names)}


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugins]:
    folder = tmp_path / "plugins"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    found = Plugins(folder)
    yield found
    for module in [module for module in sys.modules if module.partition(".")[0] in found.names]:
        del sys.modules[module]


def builds_badly(plugins: Plugins) -> str:
    return plugins.write(build="raise RuntimeError('no such disk')")


def prepares_badly(plugins: Plugins) -> str:
    more = "async def prepare():\n    raise RuntimeError('no such disk')\n"
    return plugins.write(build="node.preparations.append(prepare)", more=more)


def anchors_at_a_step_that_is_gone(plugins: Plugins) -> str:
    change = '[[change]]\nworkflow = "vm.start"\nafter = "vm.dance"\nstep = "vm.finish"\n'
    return plugins.write(workflows_toml=change)


def changes_a_file_badly(plugins: Plugins) -> str:
    return plugins.write(workflows_toml="[[change\n")


def listens_for_an_event_that_is_none(plugins: Plugins) -> str:
    return plugins.write(build="node.events.subscribe('bad', {'vm.state-chnged'}, print)")


def extends_badly(plugins: Plugins) -> str:
    more = (
        "from cairn.services.host.extensions import HostFilter\n\n"
        "class Odd(HostFilter):\n    def refuses(self, tx, need, candidates):\n        return {}\n"
    )
    return plugins.write(build="node.extensions.add(Odd(), name='odd')", more=more)


def has_a_setting_of_another(plugins: Plugins) -> str:
    return plugins.write(
        config_py="from cairn.kernel.config import Setting\nX = Setting('vm', 'x', True, doc='x')\n"
        "Y = Setting('vm', 'x', False, doc='x')\n"
    )


def has_a_table_that_no_script_makes(plugins: Plugins) -> str:
    return plugins.write(model_py=lambda name: RECORD.format(table=name, visible=", visible=Visible.ADMIN"))


def does_not_say_who_may_see_its_table(plugins: Plugins) -> str:
    return plugins.write(
        model_py=lambda name: RECORD.format(table=name, visible=""),
        migrations__versions__first_py=lambda name: SCRIPT.format(name=name, table=name, more=""),
    )


MISTAKES: list[tuple[Callable[[Plugins], str], str]] = [
    (builds_badly, "no such disk"),
    (prepares_badly, "no such disk"),
    (anchors_at_a_step_that_is_gone, "no step 'vm.dance'"),
    (changes_a_file_badly, "not a workflow file"),
    (listens_for_an_event_that_is_none, "'vm.state-chnged', which is no event. There are: vm.state-changed"),
    (extends_badly, "has no method `refuse`; is it `refuses`?"),
    (has_a_setting_of_another, "the setting vm.x is declared twice"),
    (has_a_table_that_no_script_makes, "no script in its folder migrations/versions makes the table"),
    (does_not_say_who_may_see_its_table, "visible"),
]


@pytest.mark.parametrize(("mistake", "reason"), MISTAKES)
async def test_bad_plugin_is_left_out_with_all_that_requires_it(
    plugins: Plugins, mistake: Callable[[Plugins], str], reason: str
) -> None:
    bad, good = mistake(plugins), plugins.write()
    user = plugins.write(requires=(bad,))
    async with Cloud.open(hosts=1, settings=plugins.settings) as cloud:
        shown = await _works_without(cloud, bad, good)
        assert reason in shown[bad]["reason"]
        assert shown[user]["reason"] == f"it needs {bad}, which is left out"


async def _works_without(cloud: Cloud, bad: str, good: str) -> dict[str, dict[str, str]]:
    """See that a VM starts, and which plugins there are."""
    answer = await cloud.call("GetPlugins")
    inventories = answer["inventories"]
    assert isinstance(inventories, list)
    shown = {str(one["name"]): one for one in inventories}
    assert shown[good]["state"] == "Loaded"
    assert shown[bad]["state"] == "LeftOut"
    await cloud.make_site()
    assert (await cloud.create_vm("web"))["state"] == "Running"
    return shown


async def test_node_that_cannot_be_built_with_a_plugin_is_built_without_it(plugins: Plugins, tmp_path: Path) -> None:
    """Here with a database of its own: its files are opened anew, and its lock is taken once."""
    bad = builds_badly(plugins)
    node = await Node.build(load({}, data_dir=tmp_path / "node", listen="127.0.0.1:0", **plugins.settings))
    assert bad not in {one.name for one in node.loaded.manifests}
    assert bad in {one.name for one in node.loaded.left_out}
    await node.stop()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("raise RuntimeError('no such disk')", "no such disk"),
        ("op.create_table('vm_instance')", "vm_instance"),
        ("", "declares colour of the table"),  # the script makes less than the record has
    ],
)
async def test_plugin_whose_migration_fails_is_left_out_and_the_database_is_brought_up_to_date(
    plugins: Plugins, tmp_path: Path, more: str, reason: str
) -> None:
    bad = plugins.write(
        model_py=lambda name: RECORD.format(table=name, visible=", visible=Visible.ADMIN"),
        migrations__versions__first_py=lambda name: SCRIPT.format(name=name, table=name, more=more),
    )
    node = await Node.build(load({}, data_dir=tmp_path / "node", listen="127.0.0.1:0", **plugins.settings))
    assert {one.name: reason in one.reason for one in node.loaded.left_out} == {bad: True}
    await node.stop()


async def test_plugin_whose_part_does_not_start_is_told_and_the_node_runs(plugins: Plugins) -> None:
    more = (
        "class Watch:\n    async def start(self):\n        raise RuntimeError('no such disk')\n"
        "    async def stop(self):\n        raise RuntimeError('never ran')\n"
    )
    bad = plugins.write(build="node.background.append(Watch())", more=more)
    async with Cloud.open(hosts=1, settings=plugins.settings) as cloud:
        shown = str(await cloud.call("GetPlugins"))
        assert f"'name': '{bad}'" in shown
        assert "its Watch does not run: RuntimeError: no such disk" in shown
        await cloud.make_site()
        assert (await cloud.create_vm("web"))["state"] == "Running"
        await cloud.node.stop()


async def test_mistake_of_a_step_is_told_with_its_name_and_its_plugins(plugins: Plugins) -> None:
    name = plugins.write(
        steps_py=lambda name: STEP.format(name=name.replace("_", "-")).replace("{}", "dict()"),
        workflows_toml=lambda name: (
            f'[[change]]\nworkflow = "vm.create"\nafter = "vm.record"\nstep = "{name.replace("_", "-")}.trip"\n'
        ),
    )
    async with Cloud.open(hosts=1, settings=plugins.settings) as cloud:
        await cloud.make_site()
        with pytest.raises(Refused) as refused:
            await cloud.create_vm("web")
        assert refused.value.code == "plugin.bug"
        step = f"{name.replace('_', '-')}.trip"
        assert refused.value.detail.startswith(
            f"vm.create, in the step {step} (tripping): an error that nobody foresaw."
        )
        assert f"a bug in the plugin {name}" in refused.value.detail
        assert await cloud.query("VmInstance") == []
