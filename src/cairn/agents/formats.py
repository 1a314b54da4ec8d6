"""What a file is, by its first and last bytes.

Nothing here trusts what the file is said to be, and nothing is fine by default: a raw disk is only what has a partition
table, a file system, or nothing at all in it. All other content may be an error page, an archive, or what some internal
service says; a VM that is made of it would read it to its owner.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Final

from msgspec import Struct

_HEAD_BYTES = 66 << 10
_TAIL_BYTES = 512
_TEXT_BYTES = 4096


class Kind(StrEnum):
    """The uses that a file may have."""

    QCOW2 = "qcow2"
    RAW = "raw"  #: a disk, byte for byte
    ISO = "iso"
    OTHER_IMAGE = "other-image"  #: a disk image of a format that hosts do not use
    NOTHING = "nothing"  #: no disk image


class Look(Struct, frozen=True):
    """A file's kind, with words for it: ``it looks like <words>``."""

    kind: Kind
    words: str


_CONVERT: Final = "convert it: qemu-img convert -O qcow2 IN OUT"
_UNPACK: Final = "unpack it first"

#: (offset, bytes there) -> what it is; the first that fits counts.
_MARKS: tuple[tuple[int, bytes, Kind, str], ...] = (
    (0, b"QFI\xfb", Kind.QCOW2, "a qcow2 image; add it with format=qcow2"),
    (0, b"QED\0", Kind.OTHER_IMAGE, f"a QED image; {_CONVERT}"),
    (0, b"KDMV", Kind.OTHER_IMAGE, f"a VMDK image; {_CONVERT}"),
    (0, b"COWD", Kind.OTHER_IMAGE, f"a VMDK image; {_CONVERT}"),
    (0, b"# Disk DescriptorFile", Kind.OTHER_IMAGE, "a VMDK descriptor; add the disk that it describes"),
    (0, b"conectix", Kind.OTHER_IMAGE, f"a VHD image; {_CONVERT}"),
    (0, b"vhdxfile", Kind.OTHER_IMAGE, f"a VHDX image; {_CONVERT}"),
    (0, b"<<< ", Kind.OTHER_IMAGE, f"a VDI image; {_CONVERT}"),
    (0x40, b"\x7f\x10\xda\xbe", Kind.OTHER_IMAGE, f"a VDI image; {_CONVERT}"),
    (0, b"LUKS\xba\xbe", Kind.OTHER_IMAGE, "an encrypted (LUKS) volume"),
    (0, b"\x1f\x8b", Kind.NOTHING, f"a gzip archive; {_UNPACK}"),
    (0, b"\xfd7zXZ\0", Kind.NOTHING, f"an xz archive; {_UNPACK}"),
    (0, b"BZh", Kind.NOTHING, f"a bzip2 archive; {_UNPACK}"),
    (0, b"\x28\xb5\x2f\xfd", Kind.NOTHING, f"a zstd archive; {_UNPACK}"),
    (0, b"\x04\x22\x4d\x18", Kind.NOTHING, f"an lz4 archive; {_UNPACK}"),
    (0, b"PK\x03\x04", Kind.NOTHING, f"a zip archive; {_UNPACK}"),
    (0, b"7z\xbc\xaf\x27\x1c", Kind.NOTHING, f"a 7z archive; {_UNPACK}"),
    (257, b"ustar", Kind.NOTHING, "a tar archive, as an OVA is; unpack it, and add the disk that is in it"),
    (0x8001, b"CD001", Kind.ISO, "an ISO image; add it with mediaType=ISO"),
)

#: What a disk has where: partition tables first, then file systems and their like that lie on a whole disk.
_DISKS: tuple[tuple[int, bytes, str], ...] = (
    (510, b"\x55\xaa", "a raw disk"),
    (512, b"EFI PART", "a raw disk with a GPT"),
    (4096, b"EFI PART", "a raw disk with a GPT"),
    (0x438, b"\x53\xef", "an ext file system"),
    (0, b"XFSB", "an XFS file system"),
    (0x10040, b"_BHRfS_M", "a btrfs file system"),
    (0x400, b"\x10\x20\xf5\xf2", "an F2FS file system"),
    (0x400, b"\xe2\xe1\xf5\xe0", "an EROFS file system"),
    (0, b"hsqs", "a squashfs file system"),
    (512, b"LABELONE", "an LVM volume"),
    (4086, b"SWAPSPACE2", "swap space"),
)


def look_at(path: Path) -> Look:
    """What the file at `path` is. Reads its first 66 KiB and its last sector."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        tail = file.read(_TAIL_BYTES)
    return look(head, tail)


def look(head: bytes, tail: bytes) -> Look:
    """What a file with these first and last bytes is."""
    if not head:
        return Look(Kind.NOTHING, "an empty file; see whether its upload has ended")
    for offset, mark, kind, words in _MARKS:
        if head.startswith(mark, offset):
            return Look(kind, words)
    if tail.startswith(b"conectix") or tail[1:].startswith(b"conectix"):  # old ones have a footer of 511 bytes
        return Look(Kind.OTHER_IMAGE, f"a VHD image, by its footer; {_CONVERT}")
    for offset, mark, words in _DISKS:
        if head.startswith(mark, offset):
            return Look(Kind.RAW, words)
    if not head.strip(b"\0"):
        return Look(Kind.RAW, "an empty raw disk")
    return Look(Kind.NOTHING, _text(head[:_TEXT_BYTES]) or "no disk: it has no partition table and no file system")


def _text(head: bytes) -> str | None:
    """The words for a text. Never its content, which may be what an internal service says."""
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if begin.startswith(b"<"):
        return "an HTML or XML page"
    if begin.startswith(b"{"):
        return "a JSON text"
    readable = sum(byte in b"\t\n\r\f\x1b" or byte >= 0x20 for byte in head)
    return "a text" if readable == len(head) else None
