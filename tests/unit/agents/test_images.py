from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from tests.unit.agents.fakes import FakeRunner

from cairn.agents.errors import AgentError
from cairn.agents.images import inspect
from cairn.agents.programs import SubprocessRunner
from cairn.agents.protocol import codes

MIB = 1 << 20

needs_qemu = pytest.mark.skipif(
    not all(map(shutil.which, ("qemu-img", "prlimit", "setpriv", "unshare"))), reason="qemu-utils is not installed"
)


def qemu_img(*arguments: str | Path) -> None:
    subprocess.run(["qemu-img", *map(str, arguments)], check=True, capture_output=True)


async def code_of(path: Path, image_format: str = "qcow2", limit: int = 1 << 40) -> str:
    with pytest.raises(AgentError) as caught:
        await inspect(SubprocessRunner(), path, image_format, limit)
    return caught.value.code


@needs_qemu
async def test_plain_qcow2_is_accepted_with_its_sizes(tmp_path: Path) -> None:
    image = tmp_path / "a.qcow2"
    qemu_img("create", "-f", "qcow2", image, "8M")
    info = await inspect(SubprocessRunner(), image, "qcow2", 8 * MIB)
    assert info.virtual_size_bytes == 8 * MIB
    assert 0 < info.actual_size_bytes < MIB


@needs_qemu
async def test_raw_disk_is_accepted(tmp_path: Path) -> None:
    image = tmp_path / "a.raw"
    image.write_bytes(b"\0" * MIB)
    assert (await inspect(SubprocessRunner(), image, "raw", MIB)).virtual_size_bytes == MIB


@needs_qemu
async def test_backing_file_is_refused(tmp_path: Path) -> None:
    image = tmp_path / "a.qcow2"
    qemu_img("create", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw", image, "1M")
    assert await code_of(image) == codes.BACKING_FILE


@needs_qemu
async def test_external_data_file_is_refused(tmp_path: Path) -> None:
    image = tmp_path / "a.qcow2"
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={tmp_path / 'data'}", image, "1M")
    assert await code_of(image) == codes.BACKING_FILE


@needs_qemu
async def test_hidden_name_of_a_data_file_is_refused(tmp_path: Path) -> None:
    image = tmp_path / "a.qcow2"
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={tmp_path / 'data'}", image, "1M")
    with image.open("r+b") as file:
        file.seek(72)
        file.write(struct.pack(">Q", 0))
    assert await code_of(image) == codes.BACKING_FILE


@needs_qemu
async def test_absurd_virtual_size_is_refused(tmp_path: Path) -> None:
    image = tmp_path / "a.qcow2"
    qemu_img("create", "-f", "qcow2", image, "1P")
    assert await code_of(image, limit=1 << 42) == codes.IMAGE_TOO_LARGE


@needs_qemu
async def test_absurd_tables_are_refused(tmp_path: Path) -> None:
    image = tmp_path / "a.qcow2"
    qemu_img("create", "-f", "qcow2", image, "1M")
    with image.open("r+b") as file:
        file.seek(36)
        file.write(struct.pack(">I", 0xFFFFFFFF))  # L1 entries
    assert await code_of(image) == codes.NOT_AN_IMAGE


@needs_qemu
async def test_other_format_is_named(tmp_path: Path) -> None:
    image = tmp_path / "a.vmdk"
    qemu_img("create", "-f", "vmdk", image, "1M")
    for image_format in ("qcow2", "raw"):
        assert await code_of(image, image_format) == codes.WRONG_FORMAT


@needs_qemu
async def test_qcow2_is_not_taken_for_raw(tmp_path: Path) -> None:
    image = tmp_path / "a.qcow2"
    qemu_img("create", "-f", "qcow2", image, "1M")
    assert await code_of(image, "raw") == codes.WRONG_FORMAT


@pytest.mark.parametrize("image_format", ["qcow2", "raw"])
@pytest.mark.parametrize(
    "content", [b"", b"\n<!DOCTYPE html>", b"<html>" + b" " * 506, b"\x1f\x8b" + b"\0" * 510, b"x" * 100, b'{"a":1}']
)
async def test_what_is_no_image_is_refused_before_qemu_sees_it(
    tmp_path: Path, image_format: str, content: bytes
) -> None:
    image = tmp_path / "a"
    image.write_bytes(content)
    runner = FakeRunner()
    with pytest.raises(AgentError) as caught:
        await inspect(runner, image, image_format, MIB)
    assert caught.value.code == codes.NOT_AN_IMAGE
    assert runner.ran == []


@pytest.mark.parametrize("image_format", ["vmdk", "qcow2 -o x", ""])
async def test_other_formats_than_qcow2_and_raw_are_not_supported(tmp_path: Path, image_format: str) -> None:
    assert await code_of(tmp_path, image_format) == codes.WRONG_FORMAT


@pytest.mark.parametrize("length", [4, 71, 72, 103, 104, 112])
async def test_truncated_header_is_refused(tmp_path: Path, length: int) -> None:
    header = bytearray(struct.pack(">4sI", b"QFI\xfb", 3).ljust(112, b"\0"))
    struct.pack_into(">I", header, 100, 104)
    image = tmp_path / "a"
    image.write_bytes(header[:length])
    assert await code_of(image) in (codes.NOT_AN_IMAGE, codes.WRONG_FORMAT)
