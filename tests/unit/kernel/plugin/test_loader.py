from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from cairn.kernel.error import CairnError
from cairn.kernel.plugin import loader
from cairn.kernel.plugin.loader import find
from cairn.kernel.plugin.manifest import Loaded

_NUMBER = itertools.count()
_MANIFEST = """
from cairn.kernel.plugin.manifest import Manifest

MANIFEST = Manifest(package=__package__, name={name!r}, doc="x", requires={requires!r})
"""


class Tree:
    """Packages of services and plugins, made in a folder for one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = f"loader_sample_{next(_NUMBER)}"
        for part in (self.root, f"{self.root}/services", f"{self.root}/plugins"):
            self.write(f"{part}/__init__.py", "")

    def write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def add(self, where: str, name: str, *requires: str, text: str | None = None, called: str = "") -> None:
        self.write(f"{self.root}/{where}/{name}/__init__.py", "")
        source = text if text is not None else _MANIFEST.format(name=called or name, requires=requires)
        self.write(f"{self.root}/{where}/{name}/manifest.py", source)

    def find(self, extra: Sequence[str] = (), disabled: Sequence[str] = ()) -> Loaded:
        importlib.invalidate_caches()
        services = importlib.import_module(f"{self.root}.services")
        plugins = importlib.import_module(f"{self.root}.plugins")
        return find(services, plugins, [one.format(root=self.root) for one in extra], disabled)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tree]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(loader, "entry_points", lambda group: [])
    tree = Tree(tmp_path)
    tree.add("services", "zone")
    yield tree
    for module in [name for name in sys.modules if name.startswith(tree.root)]:
        del sys.modules[module]


def names(loaded: Loaded) -> list[str]:
    return [manifest.name for manifest in loaded.manifests]


def test_each_comes_after_what_it_requires(tree: Tree) -> None:
    tree.add("plugins", "a", "c", "zone")
    tree.add("plugins", "b")
    tree.add("plugins", "c", "b")
    tree.write(f"{tree.root}/plugins/no_plugin/__init__.py", "raise RuntimeError('not imported')")

    loaded = tree.find()

    assert names(loaded) == ["kernel", "zone", "b", "c", "a"]
    assert loaded.left_out == ()


def test_disabled_one_is_left_out_and_so_is_what_needs_it(tree: Tree) -> None:
    tree.add("plugins", "a", "b")
    tree.add("plugins", "b", "c")
    tree.add("plugins", "c")
    tree.add("plugins", "d")

    loaded = tree.find(disabled=["c"])

    assert names(loaded) == ["kernel", "zone", "d"]
    assert {one.name: one.reason for one in loaded.left_out} == {
        "c": "it is named in plugins_disabled",
        "b": "it needs c, which is left out",
        "a": "it needs b, which is left out",
    }


@pytest.mark.parametrize("name", ["ghost", "zone"])
def test_disabling_what_is_no_plugin_is_refused(tree: Tree, name: str) -> None:
    tree.add("plugins", "a")

    with pytest.raises(CairnError, match=rf"names {name}; there are: a\..*plugin\.unknown"):
        tree.find(disabled=[name])


def broken_manifest(tree: Tree) -> None:
    tree.add("plugins", "bad", text="raise RuntimeError('no such library')")


def broken_package(tree: Tree) -> None:
    tree.add("plugins", "bad")
    tree.write(f"{tree.root}/plugins/bad/__init__.py", "import no_such_library")


def leaving(tree: Tree) -> None:
    tree.add("plugins", "bad", text="import sys; sys.exit(1)")


def without_manifest(tree: Tree) -> None:
    tree.add("plugins", "bad", text="MANIFEST = None")


@pytest.mark.parametrize("breaks", [broken_manifest, broken_package, leaving, without_manifest])
def test_plugin_that_cannot_be_imported_is_left_out_with_its_reason(tree: Tree, breaks: Callable[[Tree], None]) -> None:
    breaks(tree)
    tree.add("plugins", "good")

    loaded = tree.find()

    assert names(loaded) == ["kernel", "zone", "good"]
    (left,) = loaded.left_out
    assert left.name == f"{tree.root}.plugins.bad.manifest"
    assert left.reason.startswith("it cannot be imported: ")


def test_plugin_that_cannot_be_imported_may_be_disabled(tree: Tree) -> None:
    broken_manifest(tree)

    assert names(tree.find(disabled=["bad"])) == ["kernel", "zone"]


def test_service_that_cannot_be_imported_is_an_error(tree: Tree) -> None:
    tree.add("services", "bad", text="raise RuntimeError('no')")

    with pytest.raises(RuntimeError, match="no"):
        tree.find()


def test_extra_modules_and_entry_points_are_plugins_too(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.add("elsewhere", "mine")
    tree.add("elsewhere", "installed")
    tree.write(f"{tree.root}/elsewhere/__init__.py", "")
    value = f"{tree.root}.elsewhere.installed.manifest:MANIFEST"
    point = EntryPoint(name="installed", value=value, group="cairn.plugins")
    monkeypatch.setattr(loader, "entry_points", lambda group: [point])
    mine = "{root}.elsewhere.mine.manifest"

    loaded = tree.find(extra=[mine, mine, "ghost.manifest"])

    assert names(loaded) == ["kernel", "zone", "installed", "mine"]
    assert [one.name for one in loaded.left_out] == ["ghost.manifest"]


def test_name_that_is_taken_is_refused(tree: Tree) -> None:
    tree.add("plugins", "a", called="zone")

    with pytest.raises(CairnError, match=r"Two plugins are called zone.*plugin\.name-taken"):
        tree.find()


def test_circle_is_refused(tree: Tree) -> None:
    tree.add("plugins", "a", "b")
    tree.add("plugins", "b", "a")

    with pytest.raises(CairnError, match=r"circle: a > b > a.*plugin\.circle"):
        tree.find()
