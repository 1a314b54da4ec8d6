"""The header of a qcow2 file, read by a few lines that can only read this one file.

`qemu-img` knows more, but it opens the files that a header names, and it is big. Here nothing is opened but the file, and
nothing is believed but numbers within bounds.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

from msgspec import Struct

MAGIC: Final = b"QFI\xfb"
_DIRTY, _CORRUPT, _EXTERNAL_DATA_FILE = 1 << 0, 1 << 1, 1 << 2
_EXTENSION_DATA_FILE, _EXTENSION_LUKS = 0x44415441, 0x0537BE77
_HEAD_BYTES = 1 << 16
_MOST_CLUSTER_BITS = 21  #: 2 MiB, by QEMU's definition
_MOST_NAME_BYTES = 1023  #: of a backing file, by the format's definition


class Header(Struct, frozen=True, kw_only=True):
    """The part of a header that tells what the image is and what it names."""

    size_bytes: int  #: of the disk
    cluster_bytes: int  #: what the file is made of; only its last cluster may be cut short
    backing_path: str | None  #: None: it has no backing file
    encrypted: bool
    external_data: bool  #: its data is in another file, or its header says so somewhere
    dirty: bool  #: it was not closed cleanly
    corrupt: bool  #: QEMU found it damaged


class NotQcow2(Exception):
    """The file is no qcow2 file, or its header cannot be right; the message says why."""


def read_header(path: Path) -> Header:
    """Read the header of the file at `path`.

    Raises:
        NotQcow2: it has none that can be understood.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        version, offset, length = _basics(head)
        file.seek(offset)
        name = file.read(length) if offset else b""
    features = struct.unpack_from(">Q", head, 72)[0] if version == 3 else 0
    extensions = _extensions(head, struct.unpack_from(">I", head, 100)[0] if version == 3 else 72)
    return Header(
        size_bytes=struct.unpack_from(">Q", head, 24)[0],
        cluster_bytes=1 << min(struct.unpack_from(">I", head, 20)[0], _MOST_CLUSTER_BITS),
        backing_path=name.decode(errors="replace") if offset else None,
        encrypted=bool(struct.unpack_from(">I", head, 32)[0]) or _EXTENSION_LUKS in extensions,
        external_data=bool(features & _EXTERNAL_DATA_FILE) or _EXTENSION_DATA_FILE in extensions,
        dirty=bool(features & _DIRTY),
        corrupt=bool(features & _CORRUPT),
    )


def _basics(head: bytes) -> tuple[int, int, int]:
    """The version, and where the name of a backing file is (0: there is none)."""
    if head[:4] != MAGIC or len(head) < 72:
        raise NotQcow2("it does not begin as a qcow2 file does")
    version, offset, length = struct.unpack_from(">IQI", head, 4)
    if version not in (2, 3) or (version == 3 and len(head) < 104):
        raise NotQcow2(f"its qcow2 version {version} is not known")
    if length > _MOST_NAME_BYTES or offset >= 1 << 63:
        raise NotQcow2("its header names a backing file at a place where none can be")
    return version, offset, length


def _extensions(head: bytes, offset: int) -> set[int]:
    kinds: set[int] = set()
    while offset + 8 <= len(head):
        kind, length = struct.unpack_from(">II", head, offset)
        if kind == 0:
            break
        kinds.add(kind)
        offset += 8 + (length + 7) // 8 * 8
    return kinds
