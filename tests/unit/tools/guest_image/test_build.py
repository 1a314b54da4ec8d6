from __future__ import annotations

import importlib.util
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

SOURCE = Path(__file__).parents[4] / "tools/guest_image/build.py"


def _load() -> ModuleType:
    specification = importlib.util.spec_from_file_location("guest_image_build", SOURCE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


build = _load()


def _module(depends: str) -> bytes:
    return b"\x7fELF\0license=GPL\0depends=" + depends.encode() + b"\0name=x\0"


@pytest.mark.parametrize(
    ("depends", "names"), [("", []), ("virtio", ["virtio"]), ("virtio-ring,virtio", ["virtio_ring", "virtio"])]
)
def test_dependencies_of_a_module(depends: str, names: list[str]) -> None:
    assert build.module_dependencies(_module(depends)) == names


def test_module_that_says_nothing_needs_nothing() -> None:
    assert build.module_dependencies(b"\x7fELF") == []


@given(st.dictionaries(st.integers(0, 20), st.lists(st.integers(0, 20), max_size=4)))
def test_every_module_is_loaded_once_and_after_what_it_needs(needs: dict[int, list[int]]) -> None:
    # Only smaller numbers are needed, so that there are no circles.
    table = {str(name): [str(other) for other in others if other < name] for name, others in needs.items()}
    order = build.load_order(table, lambda name: table.get(name, []))
    assert len(order) == len(set(order))
    for name in order:
        assert all(order.index(other) < order.index(name) for other in table.get(name, []))


def test_archive_is_read_by_cpio(tmp_path: Path) -> None:
    archive = build.cpio(
        [
            build.Entry("etc", stat.S_IFDIR | 0o755),
            build.Entry("etc/odd", stat.S_IFREG | 0o640, b"12345"),
            build.Entry("link", stat.S_IFLNK | 0o777, b"etc/odd"),
        ]
    )
    subprocess.run(["cpio", "--quiet", "-id"], input=archive, cwd=tmp_path, check=True)
    assert (tmp_path / "link").read_bytes() == b"12345"
    assert (tmp_path / "etc/odd").stat().st_mode & 0o777 == 0o640


def test_equal_inputs_give_an_equal_initramfs() -> None:
    modules = {name: _module("") for name in (*build.FIRST_MODULES, *build.LATER_MODULES)}
    assert build.initramfs(b"busybox", modules) == build.initramfs(b"busybox", modules)


def test_missing_module_is_named() -> None:
    with pytest.raises(build.BuildError, match="virtio_pci"):
        build.initramfs(b"busybox", {})


def test_all_scripts_have_a_place_and_parse() -> None:
    files = {path.name for path in build.FILES.iterdir()}
    assert files == {*build.SCRIPTS, "syslinux.cfg"}
    for name in files - {"inittab", "syslinux.cfg"}:
        subprocess.run(["sh", "-n", build.FILES / name], check=True)


def test_downloaded_kernel_is_used_again_without_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "linux-image-6.1.0-1-cloud-amd64_6.1_amd64.deb"
    package.touch()
    monkeypatch.setattr(build, "run", lambda *command, cwd=None: pytest.fail("apt was asked"))
    assert build.kernel_package(tmp_path) == package


def test_failing_tool_is_told_with_what_it_said() -> None:
    with pytest.raises(build.BuildError, match="no such luck"):
        build.run("sh", "-c", "echo no such luck >&2; exit 1")
