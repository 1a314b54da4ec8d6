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


def reasons(loaded: Loaded) -> dict[str, str]:
    return {one.name: one.reason for one in loaded.left_out}


def test_disabling_what_is_no_plugin_is_told_and_does_no_harm(tree: Tree) -> None:
    tree.add("plugins", "a")

    loaded = tree.find(disabled=["ghost", "zone"])

    assert names(loaded) == ["kernel", "zone", "a"]
    assert reasons(loaded) == {
        "ghost": "plugins_disabled names it, but there is no such plugin; there are: a",
        "zone": "plugins_disabled names it, but it is a part of the core, and stays",
    }


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


def test_name_that_is_taken_is_left_to_the_first(tree: Tree) -> None:
    tree.add("plugins", "a", called="zone")
    tree.add("plugins", "b", called="same")
    tree.add("plugins", "c", called="same")

    loaded = tree.find()

    assert names(loaded) == ["kernel", "zone", "same"]
    root = f"{tree.root}.plugins"
    assert reasons(loaded) == {
        f"{root}.a.manifest": "its name, zone, is that of a service of the core",
        f"{root}.c.manifest": f"its name, same, is that of {root}.b.manifest",
    }


def test_services_that_share_a_name_stop_the_node(tree: Tree) -> None:
    tree.add("services", "other", called="zone")

    with pytest.raises(CairnError, match=r"Two services are called zone.*plugin\.name-taken"):
        tree.find()


def test_circle_is_left_out_and_nothing_else(tree: Tree) -> None:
    tree.add("plugins", "a", "b")
    tree.add("plugins", "b", "c")
    tree.add("plugins", "c", "b")
    tree.add("plugins", "d")

    loaded = tree.find()

    assert names(loaded) == ["kernel", "zone", "d"]
    assert reasons(loaded) == {
        "a": "it needs b, which is left out",
        "b": "plugins require each other in a circle: b > c > b",
        "c": "plugins require each other in a circle: c > b > c",
    }


VERSION = """
from cairn.kernel.plugin.manifest import Manifest

MANIFEST = Manifest(package=__package__, doc="x", version={version!r}, requires={requires!r})
"""


@pytest.mark.parametrize(
    ("wanted", "version", "reason"),
    [
        ("base>=1.2,<2", "1.3", None),
        ("base>=1.2,<2", "1.3.0rc1", None),
        ("base>=1.2,<2", "2.0", "it needs base <2,>=1.2, but there is 2.0"),
        ("base>=1", "soon", "it needs base >=1, but there is soon"),
        ("base", "soon", None),
        ("cairn>=0.0.1", "1", None),
        ("cairn>=1000", "1", "it needs cairn >=1000, but there is "),
        ("base >>> 1", "1", "user: `requires` holds what is no requirement: "),
    ],
)
def test_versions_that_do_not_fit_leave_a_plugin_out(tree: Tree, wanted: str, version: str, reason: str | None) -> None:
    tree.add("plugins", "base", text=VERSION.format(version=version, requires=()))
    tree.add("plugins", "user", text=VERSION.format(version="", requires=(wanted,)))

    loaded = tree.find()

    assert ("user" in names(loaded)) == (reason is None)
    assert reasons(loaded).get("user", "").startswith(reason or "")
    assert "base" in names(loaded)


def test_foreign_plugin_without_a_version_fits_no_range(tree: Tree) -> None:
    tree.write(f"{tree.root}/elsewhere/__init__.py", "")
    tree.add("elsewhere", "base")
    tree.add("plugins", "user", "base>=1")

    loaded = tree.find(extra=["{root}.elsewhere.base.manifest"])

    assert reasons(loaded) == {"user": "it needs base >=1, but there is one that tells no version"}


def test_declarations_that_clash_leave_the_later_plugin_out_with_its_users(tree: Tree) -> None:
    setting = "from cairn.kernel.config import Setting\n\nSIZE = Setting({category!r}, 'size', True, doc='x')\n"
    for name, needs in (("a", ()), ("b", ()), ("c", ("b",))):
        tree.add("plugins", name, *needs)
        category = "same" if name in ("a", "b") else name
        tree.write(f"{tree.root}/plugins/{name}/config.py", setting.format(category=category))

    loaded = tree.find()

    assert names(loaded) == ["kernel", "zone", "a"]
    assert reasons(loaded) == {
        "b": "TypeError: the setting same.size is declared twice",
        "c": "it needs b, which is left out",
    }
