"""The wheels that the node carries to machines, so that a machine needs no internet.

A wheel set is a folder of ``*.whl`` files: cairn's own and what its agents import, in the versions that this node runs
itself. Its checksum covers names and contents; a machine on which the same checksum is installed is left alone.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from cairn.kernel.error import CairnError, ErrorKind

DISTRIBUTION = "cairn-cloud"
AGENT_REQUIREMENTS = ("aiohttp", "msgspec")  #: in addition to the standard library and the machine's packages
AGENT_PYTHON = "3.11"  #: the Python of managed machines (Debian 12)
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
    """Fill `output` with cairn's wheel and those of its agents' requirements, and nothing else.

    Wheels that `output` already has in the right version are kept, so a second call needs no network. Blocks for some seconds.

    Args:
        output: made when missing; replaced as a whole, at the end.
        source: cairn's source tree; None: where the running cairn was installed from (``pip install -e``).

    Raises:
        CairnError: ``deploy.no-source`` if `source` is None and cairn was not installed from a tree on this machine;
            ``deploy.wheels-failed`` with pip's last words.
    """
    source = source or _source_tree()
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".wheels-") as temporary:
        new = Path(temporary) / "wheels"
        new.mkdir()
        _build_own(source, new)
        _download(new, output)
        result = wheel_set(new)
        shutil.rmtree(output, ignore_errors=True)
        new.rename(output)
    return WheelSet(folder=output, names=result.names, checksum=result.checksum)


def _build_own(source: Path, folder: Path) -> None:
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    _pip("wheel", "--no-deps", *isolation, "--wheel-dir", str(folder), str(source))


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
    return sorted(pair for pair in found if pair[0] and _normal(pair[0]) != DISTRIBUTION)


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


def _source_tree() -> Path:
    text = importlib.metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    url = urlsplit(json.loads(text)["url"]) if text else None
    if url is None or url.scheme != "file" or not (path := Path(unquote(url.path))).is_dir():
        raise CairnError(
            "deploy.no-source",
            "The running cairn was not installed from a source tree on this machine, so its own wheel cannot be "
            "built. Name the tree, or put the wheel that it was installed from into the wheel folder.",
            kind=ErrorKind.UNAVAILABLE,
        )
    return path


def _project(file_name: str) -> str:
    return _normal(file_name.split("-")[0])


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = 0o644
    tar.addfile(entry, io.BytesIO(content))
