from __future__ import annotations

import json
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest

from cairn.kernel.deploy import wheels
from cairn.kernel.error import CairnError

NAMES = ("aiohttp-3.10-cp311.whl", "cairn_cloud-0.1.0-py3-none-any.whl", "msgspec-0.19-cp311.whl")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(name.encode())
    return folder


def test_set_lists_its_wheels_and_nothing_else(folder: Path) -> None:
    (folder / "readme.txt").write_text("x")

    assert wheels.wheel_set(folder).names == NAMES


def test_checksum_stays_for_the_same_wheels_and_changes_with_one_byte(folder: Path) -> None:
    first = wheels.wheel_set(folder).checksum
    assert wheels.wheel_set(folder).checksum == first

    (folder / NAMES[1]).write_bytes(b"other")

    assert wheels.wheel_set(folder).checksum != first


def test_folder_comes_from_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAIRN_WHEELS_DIR", str(folder))

    assert wheels.wheel_set().folder == folder


def test_missing_wheels_are_named_with_what_to_do(folder: Path) -> None:
    (folder / NAMES[1]).unlink()

    with pytest.raises(CairnError, match=r"cairn-cloud.*make setup") as caught:
        wheels.wheel_set(folder)
    assert caught.value.code == "deploy.no-wheels"


def test_missing_folder_is_reported_like_missing_wheels(tmp_path: Path) -> None:
    with pytest.raises(CairnError, match="make setup"):
        wheels.wheel_set(tmp_path / "none")


def test_archive_is_made_once_and_replaces_the_one_before(folder: Path, tmp_path: Path) -> None:
    first = wheels.archive(wheels.wheel_set(folder), tmp_path / "cache")
    assert wheels.archive(wheels.wheel_set(folder), tmp_path / "cache") == first
    with tarfile.open(first) as tar:
        assert tar.getnames() == list(NAMES)

    (folder / NAMES[0]).write_bytes(b"new")
    second = wheels.archive(wheels.wheel_set(folder), tmp_path / "cache")

    assert list((tmp_path / "cache").iterdir()) == [second]


def test_same_wheels_make_the_same_archive(folder: Path, tmp_path: Path) -> None:
    one = wheels.archive(wheels.wheel_set(folder), tmp_path / "a").read_bytes()

    assert wheels.archive(wheels.wheel_set(folder), tmp_path / "b").read_bytes() == one


class FakePip:
    """Puts the files of `NAMES` where pip would; its index can be out of reach."""

    def __init__(self, *, has_index: bool = True) -> None:
        self.has_index = has_index
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        if "wheel" in command:
            (Path(command[command.index("--wheel-dir") + 1]) / NAMES[1]).write_text("own")
            return subprocess.CompletedProcess(command, 0, "", "")
        kept = Path(command[command.index("--find-links") + 1]) if "--no-index" in command else None
        for name in (NAMES[0], NAMES[2]):
            if kept is not None and not (kept / name).exists():
                return subprocess.CompletedProcess(command, 1, "", "ERROR: not here\n")
            if kept is None and not self.has_index:
                return subprocess.CompletedProcess(command, 1, "", "noise\nERROR: No matching distribution\nmore\n")
            (Path(command[command.index("--dest") + 1]) / name).write_text("dependency")
        return subprocess.CompletedProcess(command, 0, "", "")


def use(pip: FakePip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cairn.kernel.deploy.wheels.subprocess.run", pip)


def test_build_fills_the_folder_and_drops_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(FakePip(), monkeypatch)
    output = tmp_path / "out"
    output.mkdir()
    (output / "old-1.whl").write_text("old")

    built = wheels.build_wheels(output, tmp_path)

    assert built == wheels.wheel_set(output)
    assert built.names == NAMES
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_second_build_needs_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(FakePip(), monkeypatch)
    first = wheels.build_wheels(tmp_path / "out", tmp_path)
    pip = FakePip(has_index=False)
    use(pip, monkeypatch)

    assert wheels.build_wheels(tmp_path / "out", tmp_path) == first


def test_failed_build_tells_pips_error_and_keeps_the_old_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(FakePip(has_index=False), monkeypatch)
    output = tmp_path / "out"
    output.mkdir()
    (output / "old-1.whl").write_text("old")

    with pytest.raises(CairnError, match="No matching distribution") as caught:
        wheels.build_wheels(output, tmp_path)

    assert caught.value.code == "deploy.wheels-failed"
    assert (output / "old-1.whl").exists()


def installed(
    folder: Path, *, tag: str = "py3-none-any", tree: Path | None = None, group: str = "cairn.agents"
) -> Path:
    """A plugin as an installer leaves it in `folder`."""
    info = folder / "cairn_seal-0.3.dist-info"
    package = folder / "cairn_seal"
    for path in (info, package):
        path.mkdir(parents=True)
    (package / "agent.py").write_text("def make(role): ...\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cairn-seal\nVersion: 0.3\n")
    (info / "WHEEL").write_text(f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
    (info / "entry_points.txt").write_text(f"[{group}]\nseal = cairn_seal.agent:make\n")
    (info / "INSTALLER").write_text("pip\n")
    names = ["METADATA", "WHEEL", "entry_points.txt", "INSTALLER", "RECORD"]
    record = [
        "cairn_seal/agent.py,,",
        "cairn_seal/agent.pyc,,",
        "../../bin/seal,,",
        *(f"{info.name}/{n},," for n in names),
    ]
    (info / "RECORD").write_text("".join(f"{line}\n" for line in record))
    if tree is not None:
        (info / "direct_url.json").write_text(json.dumps({"url": tree.as_uri(), "dir_info": {"editable": True}}))
    return info


def find(monkeypatch: pytest.MonkeyPatch, *infos: Path) -> None:
    """Have these installed, and nothing else."""

    def distributions() -> Iterator[Distribution]:
        return iter([PathDistribution(info) for info in infos])

    monkeypatch.setattr("cairn.kernel.deploy.wheels.importlib.metadata.distributions", distributions)


def test_plugin_with_something_for_agents_goes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find(monkeypatch, installed(tmp_path / "site"))
    use(FakePip(), monkeypatch)

    made = wheels.build_wheels(tmp_path / "out", tmp_path)

    name = "cairn_seal-0.3-py3-none-any.whl"
    assert made.names == tuple(sorted((*NAMES, name)))
    with zipfile.ZipFile(made.folder / name) as wheel:
        info = "cairn_seal-0.3.dist-info"
        files = {
            "cairn_seal/agent.py",
            *(f"{info}/{one}" for one in ("METADATA", "WHEEL", "entry_points.txt", "RECORD")),
        }
        assert set(wheel.namelist()) == files
        record = wheel.read(f"{info}/RECORD").decode().splitlines()
        assert {line.split(",")[0] for line in record} == files
        assert all(",sha256=" in line for line in record if not line.startswith(f"{info}/RECORD"))


def test_the_same_plugin_always_makes_the_same_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find(monkeypatch, installed(tmp_path / "site"))
    use(FakePip(), monkeypatch)

    first = wheels.build_wheels(tmp_path / "a", tmp_path)
    assert wheels.build_wheels(tmp_path / "b", tmp_path).checksum == first.checksum


def test_plugin_that_runs_from_a_tree_is_built_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    find(monkeypatch, installed(tmp_path / "site", tree=tree))
    pip = FakePip()
    use(pip, monkeypatch)

    wheels.build_wheels(tmp_path / "out", tmp_path)

    assert [command[-1] for command in pip.commands if "wheel" in command] == [str(tmp_path), str(tree)]


def test_what_has_nothing_for_agents_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find(monkeypatch, installed(tmp_path / "site", group="cairn.plugins"))
    use(FakePip(), monkeypatch)

    assert wheels.build_wheels(tmp_path / "out", tmp_path).names == NAMES


def test_plugin_that_fits_one_kind_of_machine_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find(monkeypatch, installed(tmp_path / "site", tag="cp311-cp311-linux_x86_64"))
    use(FakePip(), monkeypatch)

    with pytest.raises(CairnError, match=r"cairn-seal.*cp311-linux_x86_64\.whl: it fits one kind of machine") as caught:
        wheels.build_wheels(tmp_path / "out", tmp_path)
    assert caught.value.code == "deploy.plugin-not-pure"
    assert not (tmp_path / "out").exists()
