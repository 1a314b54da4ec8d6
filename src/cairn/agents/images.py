"""Inspection of images that come from outside.

A hostile image attacks in two ways: its header names other files (a backing file, an external data file) that the
host would open and show to a guest; or it makes the parser itself misbehave. So the header is first read here, by a
few lines that can only read this one file, and refused if it names anything. Only then `qemu-img info` looks at the
whole, with the format forced (never guessed from the content, which a guest may have written), in a sandbox: no
network, no privileges, little memory, little time, no file bigger than nothing.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import msgspec
from msgspec import Struct

from cairn.agents.blocking import in_thread
from cairn.agents.errors import AgentError
from cairn.agents.programs import ProgramRunner
from cairn.agents.protocol import codes
from cairn.agents.protocol.storage import ImageInfo

_LIMITS = ["prlimit", "--as=1073741824", "--cpu=10", "--fsize=0", "--core=0", "--nofile=64"]
_NO_PRIVILEGES = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
_TIMEOUT_SECONDS = 20.0

_QCOW2_MAGIC = b"QFI\xfb"
_EXTERNAL_DATA_FILE = 1 << 2
_EXTENSION_DATA_FILE = 0x44415441
_LUKS_EXTENSION = 0x0537BE77

#: How disk images of other formats begin.
_IMAGES = {
    _QCOW2_MAGIC: "a qcow2 image",
    b"QED\0": "a QED image",
    b"KDMV": "a VMDK image",
    b"COWD": "a VMDK image",
    b"# Disk DescriptorFile": "a VMDK descriptor",
    b"conectix": "a VHD image",
    b"vhdxfile": "a VHDX image",
    b"<<< ": "a VDI image",
    b"LUKS\xba\xbe": "an encrypted (LUKS) volume",
}

#: How files begin that are not disk images, but are often found where one was expected.
_OTHER_THINGS = {
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"\xfd7zXZ\0": "an xz archive; unpack it first",
    b"BZh": "a bzip2 archive; unpack it first",
    b"\x28\xb5\x2f\xfd": "a zstd archive; unpack it first",
    b"PK\x03\x04": "a zip archive; unpack it first",
    b"<": "an HTML or XML page",
    b"{": "a JSON text",
}

_BOOT_SIGNATURE = b"\x55\xaa"


class QemuInfo(Struct, rename={"virtual_size": "virtual-size", "actual_size": "actual-size"}):
    """The part of the answer of ``qemu-img info`` that is used."""

    format: str
    virtual_size: int
    actual_size: int = 0
    backing_filename: str | None = msgspec.field(default=None, name="backing-filename")


async def inspect(runner: ProgramRunner, path: Path, image_format: str, max_virtual_size_bytes: int) -> ImageInfo:
    """Whether the file is a harmless image of `image_format` (``qcow2`` or ``raw``), and how big it is. Only reads.

    Raises:
        AgentError: ``agent.not-an-image``, ``agent.wrong-format``, ``agent.backing-file``, ``agent.image-too-large``.
    """
    if image_format not in ("qcow2", "raw"):
        raise AgentError(codes.WRONG_FORMAT, f"The format {image_format!r} is not supported; qcow2 and raw are.")
    check = _check_qcow2 if image_format == "qcow2" else _check_raw
    await in_thread(check, path)
    info = await qemu_info(runner, path, image_format)
    if info.format != image_format or info.backing_filename is not None:
        raise _refused("qemu-img finds another format or a backing file in it", codes.BACKING_FILE)
    if not 0 < info.virtual_size <= max_virtual_size_bytes:
        raise AgentError(
            codes.IMAGE_TOO_LARGE,
            f"The image is a disk of {info.virtual_size} bytes; up to {max_virtual_size_bytes} are allowed.",
        )
    return ImageInfo(
        path=str(path),
        format=image_format,
        virtual_size_bytes=info.virtual_size,
        actual_size_bytes=info.actual_size,
    )


async def qemu_info(runner: ProgramRunner, path: Path, image_format: str) -> QemuInfo:
    """``qemu-img info`` in the sandbox.

    Raises:
        AgentError: ``agent.not-an-image``.
    """
    argv = [*_LIMITS, *await _sandbox(runner), "qemu-img", "info", "-U", "-f", image_format, "--output=json", str(path)]
    done = await runner.run(argv, check=False, timeout_seconds=_TIMEOUT_SECONDS)
    if done.returncode != 0:
        raise _refused(f"qemu-img says: {done.stderr.strip()[-300:] or f'status {done.returncode}'}")
    try:
        return msgspec.json.decode(done.stdout, type=QemuInfo)
    except msgspec.MsgspecError as error:
        raise _refused(f"qemu-img's answer cannot be read: {error}") from error


async def _sandbox(runner: ProgramRunner) -> list[str]:
    """As much of a sandbox as this user may have: root gets no network and loses its privileges."""
    if os.geteuid() != 0:
        return ["setpriv", "--no-new-privs"]
    alone = ["unshare", "--net", "--ipc"]
    possible = (await runner.run([*alone, "true"], check=False)).returncode == 0
    return [*(alone if possible else []), *_NO_PRIVILEGES]


def _check_qcow2(path: Path) -> None:
    """Refuse a header that is wrong or names other files. Reads the first cluster of this one file."""
    with path.open("rb") as file:
        header = file.read(1 << 16)
    if header[:4] != _QCOW2_MAGIC or len(header) < 72:
        raise _other(header, "qcow2")
    version, backing_offset = struct.unpack_from(">IQ", header, 4)
    if version not in (2, 3) or (version == 3 and len(header) < 104):
        raise _refused(f"its qcow2 version {version} is not known")
    if backing_offset:
        raise _refused("it names a backing file. Flatten it: qemu-img convert -O qcow2 IN OUT", codes.BACKING_FILE)
    if struct.unpack_from(">I", header, 32)[0]:
        raise _refused("it is encrypted", codes.WRONG_FORMAT)
    if version == 3 and struct.unpack_from(">Q", header, 72)[0] & _EXTERNAL_DATA_FILE:
        raise _refused("its data is in another file. Convert it: qemu-img convert -O qcow2 IN OUT", codes.BACKING_FILE)
    _check_extensions(header, 72 if version == 2 else struct.unpack_from(">I", header, 100)[0])


def _check_extensions(header: bytes, offset: int) -> None:
    while offset + 8 <= len(header):
        kind, length = struct.unpack_from(">II", header, offset)
        if kind == 0:
            return
        if kind in (_EXTENSION_DATA_FILE, _LUKS_EXTENSION):
            raise _refused("its header names an external data file or encryption", codes.BACKING_FILE)
        offset += 8 + (length + 7) // 8 * 8


def _check_raw(path: Path) -> None:
    """A raw disk can be anything, but not these."""
    with path.open("rb") as file:
        header = file.read(512)
    size = path.stat().st_size
    if any(header.startswith(magic) for magic in (*_IMAGES, *_OTHER_THINGS)):
        raise _other(header, "raw")
    if size == 0 or size % 512:
        raise _refused(f"it is said to be raw, but {size} bytes are not a whole number of 512-byte sectors")


def _other(header: bytes, wanted: str) -> AgentError:
    """The error for a file that is something else than `wanted`."""
    image = next((name for magic, name in _IMAGES.items() if header.startswith(magic)), None)
    if image is None and header[510:512] == _BOOT_SIGNATURE:
        image = "a raw disk"
    if image is not None:
        return _refused(f"it is said to be {wanted}, but it looks like {image}", codes.WRONG_FORMAT)
    things = (name for magic, name in _OTHER_THINGS.items() if header.lstrip().startswith(magic))
    return _refused(f"it is said to be {wanted}, but it looks like {next(things, 'something else')}")


def _refused(reason: str, code: str = codes.NOT_AN_IMAGE) -> AgentError:
    return AgentError(code, f"The image is refused: {reason}.")
