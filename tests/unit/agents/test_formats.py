from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.agents.formats import Kind, look, look_at

SECTOR = 512


def at(offset: int, mark: bytes, size: int = 70 << 10) -> bytes:
    """Content with a mark in it, and noise around that is no text."""
    content = bytearray(b"\x01" * size)
    content[offset : offset + len(mark)] = mark
    return bytes(content)


def kind_of(content: bytes) -> Kind:
    return look(content[: 66 << 10], content[-SECTOR:]).kind


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b"", Kind.NOTHING, "an empty file"),
        (b"503 upstream busy, try again later\n" * 30, Kind.NOTHING, "a text"),
        ("Ungültige Anfrage\n".encode() * 60, Kind.NOTHING, "a text"),
        (b"\n <!DOCTYPE html>", Kind.NOTHING, "an HTML or XML page"),
        (b'{"token": "abc"}', Kind.NOTHING, "a JSON text"),
        (at(257, b"ustar"), Kind.NOTHING, "a tar archive, as an OVA is"),
        (b"\x1f\x8b" + b"\0" * 700, Kind.NOTHING, "a gzip archive"),
        (at(0x8001, b"CD001"), Kind.ISO, "an ISO image"),
        (at(0x8001, b"CD001")[:510] + b"\x55\xaa" + at(0x8001, b"CD001")[512:], Kind.ISO, "an ISO image"),
        (at(70 * 1024 - SECTOR, b"conectix"), Kind.OTHER_IMAGE, "a VHD image, by its footer"),
        (at(70 * 1024 - SECTOR + 1, b"conectix"), Kind.OTHER_IMAGE, "a VHD image, by its footer"),
        (b"QFI\xfb" + b"\0" * 600, Kind.QCOW2, "a qcow2 image"),
        (at(510, b"\x55\xaa"), Kind.RAW, "a raw disk"),
        (at(4096, b"EFI PART"), Kind.RAW, "a raw disk with a GPT"),
        (at(0x438, b"\x53\xef"), Kind.RAW, "an ext file system"),
        (at(0x10040, b"_BHRfS_M"), Kind.RAW, "a btrfs file system"),
        (b"\0" * 4096, Kind.RAW, "an empty raw disk"),
        (b"\x01\x02" * 4096, Kind.NOTHING, "no disk"),
    ],
)
def test_file_is_named_for_what_it_is(content: bytes, kind: Kind, words: str) -> None:
    found = look(content[: 66 << 10], content[-SECTOR:])
    assert found.kind is kind
    assert found.words.startswith(words)


@given(st.text(min_size=1, max_size=2000))
def test_no_text_is_a_disk(text: str) -> None:
    content = text.encode().replace(b"\0", b" ")
    assert look(content, content[-SECTOR:]).kind is not Kind.RAW or content[510:512] == b"\x55\xaa"


@given(st.text(alphabet=st.characters(min_codepoint=0x61, max_codepoint=0x7A), min_size=12, max_size=400))
def test_what_a_text_says_is_not_repeated(secret: str) -> None:
    assert secret not in look(secret.encode(), secret.encode()).words


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-utils is not installed")
@pytest.mark.parametrize("image_format", ["vmdk", "vpc", "vhdx", "vdi", "qed", "parallels"])
async def test_images_of_other_formats_are_no_raw_disks(tmp_path: Path, image_format: str) -> None:
    path = tmp_path / "disk"
    argv = ["qemu-img", "create", "-q", "-f", image_format, str(path), "8M"]
    if subprocess.run(argv, capture_output=True, check=False).returncode:  # noqa: ASYNC221 (a test may wait)
        pytest.skip(f"this qemu-img makes no {image_format}")
    assert look_at(path).kind in (Kind.OTHER_IMAGE, Kind.NOTHING)


def test_ends_of_a_large_file_are_read(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(1 << 30)
        file.seek((1 << 30) - SECTOR)
        file.write(b"conectix")
    assert look_at(path).kind is Kind.OTHER_IMAGE
