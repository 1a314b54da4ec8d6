"""Inspection of images that come from outside.

A hostile image attacks in two ways: its header names other files (a backing file, an external data file) that the
host would open and show to a guest; or it makes the parser itself misbehave. So it is first looked at here, by a few lines
that can only read this one file, and refused if it is something else than it is said to be (`formats`), or if it names
anything (`qcow2`). Only then `qemu-img check` reads the whole, with the format forced (never guessed from the content,
which a guest may have written), in a closed room (`sandbox`): it finds what was cut off or damaged. A raw file has
nothing that could be checked.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from cairn.agents.blocking import in_thread
from cairn.agents.errors import AgentError
from cairn.agents.formats import Kind, look_at
from cairn.agents.programs import ProgramRunner
from cairn.agents.protocol import codes
from cairn.agents.protocol.storage import ImageInfo
from cairn.agents.qcow2 import Header, NotQcow2, read_header
from cairn.agents.sandbox import IMAGE, run_closed

_SECTOR_BYTES = 512
_DAMAGED = 2  #: the exit code of `qemu-img check` for tables that contradict each other
_LEAKS_ONLY = 3  #: the exit code of `qemu-img check` for clusters that nothing uses, which do no harm
_CUT_OFF = "Fetch it anew from its source, and compare its size; `qemu-img check FILE` shows the same"


class Measured(Struct, frozen=True):
    """What can be told of an image without a program."""

    virtual_size_bytes: int
    actual_size_bytes: int  #: of the disk that it takes
    backing_path: str | None = None


class _Check(Struct, rename="kebab"):
    """The part of the answer of ``qemu-img check`` that is used."""

    check_errors: int = 0
    corruptions: int = 0
    image_end_offset: int = 0  #: the end of the last cluster that is in use


async def inspect(
    runner: ProgramRunner, path: Path, image_format: str, max_virtual_size_bytes: int, *, iso: bool = False
) -> ImageInfo:
    """Whether the file is a harmless, whole image of `image_format` (``qcow2`` or ``raw``), and how big it is. Only reads.

    Args:
        iso: it is to be an ISO image, which has to be raw; otherwise it must not be one.

    Raises:
        AgentError: ``agent.not-an-image``, ``agent.wrong-format``, ``agent.backing-file``, ``agent.image-too-large``,
            ``agent.missing-feature`` when this machine has no sandbox.
    """
    if image_format not in ("qcow2", "raw"):
        raise AgentError(codes.WRONG_FORMAT, f"The format {image_format!r} is not supported; qcow2 and raw are.")
    await in_thread(_check_kind, path, image_format, iso)
    if image_format == "qcow2":
        header = await in_thread(_header, path)
        _refuse_names(header)
        await _check_whole(runner, path, header.cluster_bytes)
    found = await in_thread(measure, path, image_format)
    if not 0 < found.virtual_size_bytes <= max_virtual_size_bytes:
        raise AgentError(
            codes.IMAGE_TOO_LARGE,
            f"The image is a disk of {found.virtual_size_bytes} bytes; up to {max_virtual_size_bytes} are allowed.",
        )
    return ImageInfo(
        path=str(path),
        format=image_format,
        virtual_size_bytes=found.virtual_size_bytes,
        actual_size_bytes=found.actual_size_bytes,
    )


def measure(path: Path, image_format: str) -> Measured:
    """The sizes of an image that is there, and its backing file. Reads its header only.

    Raises:
        AgentError: ``agent.not-an-image``.
    """
    stat = path.stat()
    actual = stat.st_blocks * _SECTOR_BYTES
    if image_format != "qcow2":
        return Measured(stat.st_size, actual)
    header = _header(path)
    return Measured(header.size_bytes, actual, header.backing_path)


def _header(path: Path) -> Header:
    try:
        return read_header(path)
    except NotQcow2 as error:
        raise _refused(str(error)) from None


def _check_kind(path: Path, image_format: str, iso: bool) -> None:
    """Refuse a file that is something else than it is said to be, in words for what it is."""
    found, said = look_at(path), "an ISO image" if iso else image_format
    wanted = {"qcow2": Kind.QCOW2, "raw": Kind.ISO if iso else Kind.RAW}[image_format]
    if found.kind is not wanted:
        is_image = found.kind is not Kind.NOTHING
        code = codes.WRONG_FORMAT if is_image else codes.NOT_AN_IMAGE
        raise _refused(f"it is said to be {said}, but it looks like {found.words}", code)
    size = path.stat().st_size
    if image_format == "raw" and size % _SECTOR_BYTES:
        raise _refused(
            f"it is said to be raw, but {size} bytes are not a whole number of {_SECTOR_BYTES}-byte sectors. If it is whole, "
            f"fill it up: truncate -s %{_SECTOR_BYTES} FILE"
        )


def _refuse_names(header: Header) -> None:
    """Refuse a header that names other files, and one that says of itself that the image is not as it should be."""
    if header.backing_path is not None:
        raise _refused("it names a backing file. Flatten it: qemu-img convert -O qcow2 IN OUT", codes.BACKING_FILE)
    if header.external_data:
        raise _refused(
            "its header names an external data file. Convert it: qemu-img convert -O qcow2 IN OUT", codes.BACKING_FILE
        )
    if header.encrypted:
        raise _refused("it is encrypted", codes.WRONG_FORMAT)
    if header.dirty or header.corrupt:
        what = "damaged" if header.corrupt else "not closed cleanly"
        raise _refused(f"it is marked as {what}. Repair it: qemu-img check -r all FILE")


async def _check_whole(runner: ProgramRunner, path: Path, cluster_bytes: int) -> None:
    """Refuse an image that is cut off or damaged: tables that lead out of the file, or contradict each other.

    A table that is cut off itself reads as empty, and contradicts nothing; but the file ends before its last cluster does.
    """
    done = await run_closed(runner, ["qemu-img", "check", "-U", "-f", "qcow2", "--output=json", IMAGE], path)
    if done.returncode not in (0, _DAMAGED, _LEAKS_ONLY):
        raise _refused(f"qemu-img says: {done.stderr.strip()[-300:] or f'status {done.returncode}'}. {_CUT_OFF}")
    try:
        found = msgspec.json.decode(done.stdout, type=_Check)
    except msgspec.MsgspecError as error:
        raise _refused(f"qemu-img's answer cannot be read: {error}") from error
    size = await in_thread(lambda: path.stat().st_size)
    count = found.corruptions + found.check_errors
    if found.image_end_offset >= size + cluster_bytes:
        raise _refused(f"it is cut off: it has {size} bytes, and uses {found.image_end_offset}. {_CUT_OFF}")
    if count or done.returncode == _DAMAGED:
        raise _refused(f"it is cut off or damaged: qemu-img check finds {count} errors in {size} bytes. {_CUT_OFF}")


def _refused(reason: str, code: str = codes.NOT_AN_IMAGE) -> AgentError:
    return AgentError(code, f"The image is refused: {reason}.")
