"""The wheels that the node carries to machines, so that a machine needs no internet.

A wheel set is a folder of ``*.whl`` files: cairn's own, what its agents import, and the plugins that have something for agents,
in the versions that this node runs itself. Its checksum covers names and contents; a machine on which the same checksum is
installed is left alone.

A plugin is carried if it is installed in the node's Python and names an entry point of the group ``cairn.agents``. Its wheel is
made again from its installed files, or built from its source tree if it runs from there (``pip install -e``). Nothing that it
depends on goes along: on machines it has the standard library, cairn's agents, and what those import.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from importlib.metadata import Distribution
from pathlib import Path, PurePath
from typing import NoReturn
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from cairn.agents.protocol.wire import ENTRY_POINTS
from cairn.kernel.error import CairnError, ErrorKind

DISTRIBUTION = "cairn-cloud"
AGENT_REQUIREMENTS = ("aiohttp", "msgspec")  #: in addition to the standard library and the machine's packages
AGENT_PYTHON = "3.11"  #: the Python of managed machines (Debian 12)
_OF_INSTALLATION = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")  #: what the installer added
_GLIBC = ("2_17", "2_28", "2_34")  # the glibc versions that wheels are built against; Debian 12 has 2.36


class WheelSet(Struct, frozen=True, kw_only=True):
    """The wheels in one folder."""

    folder: Path
    names: tuple[str, ...]  #: file names, sorted
    checksum: str  #: SHA-256 over names and contents, hex


def default_folder() -> Path:
    """``CAIRN_WHEELS_DIR``, or ``share/cairn/wheels`` of the Python environment that the node runs in."""
    given = os.environ.get("CAIRN_WHEELS_DIR")
    return Path(given) if given else Path(sys.prefix) / "share" / "cairn" / "wheels"


def wheel_set(folder: Path | None = None) -> WheelSet:
    """The wheels in `folder` (None: `default_folder`). Only reads.

    Raises:
        CairnError: ``deploy.no-wheels`` if there is no folder, no wheel of cairn in it, or one of an agent's
            requirements is missing.
    """
    folder = folder or default_folder()
    paths = sorted(folder.glob("*.whl"))
    present = {_project(path.name) for path in paths}
    missing = [name for name in (DISTRIBUTION, *AGENT_REQUIREMENTS) if name not in present]
    if missing:
        raise CairnError(
            "deploy.no-wheels",
            f"{folder} lacks the wheels of {', '.join(missing)}, which go to every machine that is added. "
            "Run `make setup` (or `cairn wheels build`), or set CAIRN_WHEELS_DIR to a folder that has them.",
            kind=ErrorKind.UNAVAILABLE,
        )
    checksum = hashlib.sha256()
    for path in paths:
        checksum.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return WheelSet(folder=folder, names=tuple(path.name for path in paths), checksum=checksum.hexdigest())


def archive(wheels: WheelSet, folder: Path) -> Path:
    """One tar file of `wheels` in `folder`, named by their checksum; made by the first call, found by later ones.

    Archives of other wheel sets in `folder` are removed. The same wheels always make the same bytes.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"wheels-{wheels.checksum[:32]}.tar"
    if not path.exists():
        descriptor, temporary = tempfile.mkstemp(dir=folder, suffix=".new")
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
            for name in wheels.names:
                _add(tar, name, (wheels.folder / name).read_bytes())
        Path(temporary).replace(path)
    for old in folder.glob("wheels-*.tar"):
        if old != path:
            old.unlink(missing_ok=True)
    return path


def build_wheels(output: Path, source: Path | None = None) -> WheelSet:
    """Fill `output` with cairn's wheel, those of its agents' requirements and of plugins for agents, and nothing else.

    Wheels that `output` already has in the right version are kept, so a second call needs no network. Blocks for some seconds.

    Args:
        output: made when missing; replaced as a whole, at the end.
        source: cairn's source tree; None: where the running cairn was installed from (``pip install -e``).

    Raises:
        CairnError: ``deploy.no-source`` if `source` is None and cairn was not installed from a tree on this machine;
            ``deploy.wheels-failed`` with pip's last words; ``deploy.plugin-not-pure`` for a plugin whose wheel fits one kind
            of machine only.
    """
    source = source or _tree_of(importlib.metadata.distribution(DISTRIBUTION)) or _no_source()
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".wheels-") as temporary:
        new = Path(temporary) / "wheels"
        new.mkdir()
        _build(source, new)
        for plugin in _plugins():
            _build_plugin(plugin, new)
        _download(new, output)
        result = wheel_set(new)
        shutil.rmtree(output, ignore_errors=True)
        new.rename(output)
    return WheelSet(folder=output, names=result.names, checksum=result.checksum)


def _plugins() -> list[Distribution]:
    """What is installed here and has something for agents, by name."""
    found: dict[str, Distribution] = {}
    for one in importlib.metadata.distributions():
        name = _normal(one.name)
        if name != DISTRIBUTION and any(point.group == ENTRY_POINTS for point in one.entry_points):
            found.setdefault(name, one)  # the first is the one that is imported
    return [found[name] for name in sorted(found)]


def _build_plugin(plugin: Distribution, folder: Path) -> None:
    before = set(folder.glob("*.whl"))
    tree = _tree_of(plugin, editable=True)
    if tree is not None:
        _build(tree, folder, any_tool=True)
    else:
        _pack(plugin, folder)
    for made in set(folder.glob("*.whl")) - before:
        if not made.stem.endswith("-none-any"):
            raise CairnError(
                "deploy.plugin-not-pure",
                f"The wheel of {plugin.name}, which has commands for agents, is {made.name}: it fits one kind of machine only. "
                "Put what agents need into a package of plain Python, with the entry point there.",
                kind=ErrorKind.INVALID,
            )


def _pack(plugin: Distribution, folder: Path) -> None:
    """Make a wheel of what was installed from one. Programs beside the packages stay behind: agents need none."""
    tag = next(iter(re.findall(r"(?m)^Tag: *(\S+)", plugin.read_text("WHEEL") or "")), "py3-none-any")
    stem = f"{re.sub(r'[-_.]+', '_', plugin.name)}-{plugin.version}"
    path, info = folder / f"{stem}-{tag}.whl", f"{stem}.dist-info"
    record: list[str] = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for file in sorted(plugin.files or (), key=str):
            if ".." in file.parts or file.suffix == ".pyc" or (file.name in _OF_INSTALLATION and _is_info(file.parent)):
                continue
            content = Path(str(file.locate())).read_bytes()
            _add_to_wheel(wheel, file.as_posix(), content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            record.append(f"{file.as_posix()},sha256={digest},{len(content)}\n")
            if _is_info(file.parent):
                info = file.parent.as_posix()
        record.append(f"{info}/RECORD,,\n")
        _add_to_wheel(wheel, f"{info}/RECORD", "".join(record).encode())


def _is_info(folder: PurePath) -> bool:
    return folder.name.endswith(".dist-info")


def _add_to_wheel(wheel: zipfile.ZipFile, name: str, content: bytes) -> None:
    """With a date of its own, so that the same files always make the same wheel."""
    entry = zipfile.ZipInfo(name, date_time=(2020, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    wheel.writestr(entry, content)


def _build(source: Path, folder: Path, *, any_tool: bool = False) -> None:
    arguments = ["--no-deps", "--wheel-dir", str(folder), str(source)]
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    try:
        _pip("wheel", *isolation, *arguments)
    except CairnError:
        if not any_tool or not isolation:
            raise
        _pip("wheel", *arguments)  # a plugin may be built by other tools, which pip fetches


def _download(folder: Path, old: Path) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.writelines(f"{name}=={version}\n" for name, version in _installed())
        constraints.flush()
        arguments = ["--only-binary=:all:", "--python-version", AGENT_PYTHON, "--implementation", "cp"]
        for glibc in _GLIBC:
            arguments += ["--platform", f"manylinux_{glibc}_{platform.machine()}"]
        arguments += ["--dest", str(folder), "--constraint", constraints.name, *AGENT_REQUIREMENTS]
        try:
            _pip("download", "--no-index", "--find-links", str(old), *arguments)
        except CairnError:
            _pip("download", *arguments)


def _installed() -> list[tuple[str, str]]:
    """The versions that this node runs on: agents get the same."""
    found = {(d.metadata["Name"], d.version) for d in importlib.metadata.distributions()}
    ours = {DISTRIBUTION, *(_normal(plugin.name) for plugin in _plugins())}
    return sorted(pair for pair in found if pair[0] and _normal(pair[0]) not in ours)


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CairnError(
            "deploy.wheels-failed",
            f"pip {arguments[0]} failed: {_last_error(done.stderr or done.stdout)}. "
            "Check that this machine reaches its package index, then run `make setup` again.",
            kind=ErrorKind.UNAVAILABLE,
        )


def _last_error(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["no output"])[-1].strip()


def _tree_of(installed: Distribution, *, editable: bool = False) -> Path | None:
    """The folder on this machine that it was installed from; None if it was not.

    Args:
        editable: only where it runs from that folder, so that nothing else is installed.
    """
    origin = json.loads(installed.read_text("direct_url.json") or '{"url": ""}')
    url = urlsplit(origin["url"])
    if url.scheme != "file" or (editable and not origin.get("dir_info", {}).get("editable")):
        return None
    path = Path(unquote(url.path))
    return path if path.is_dir() else None


def _no_source() -> NoReturn:
    raise CairnError(
        "deploy.no-source",
        "The running cairn was not installed from a source tree on this machine, so its own wheel cannot be "
        "built. Name the tree, or put the wheel that it was installed from into the wheel folder.",
        kind=ErrorKind.UNAVAILABLE,
    )


def _project(file_name: str) -> str:
    return _normal(file_name.split("-")[0])


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = 0o644
    tar.addfile(entry, io.BytesIO(content))
