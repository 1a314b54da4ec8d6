from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from tests.unit.agents.fakes import FakeRunner

from cairn.agents.errors import AgentError
from cairn.agents.images import inspect, measure
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


def whole_image(path: Path, *options: str) -> Path:
    """A qcow2 image with some data in it."""
    source = path.with_suffix(".raw")
    source.write_bytes((b"\x01" * 510 + b"\x55\xaa") * 2048)
    qemu_img("convert", "-f", "raw", "-O", "qcow2", *options, source, path)
    return path


@needs_qemu
@pytest.mark.parametrize("options", [(), ("-o", "compat=0.10"), ("-o", "lazy_refcounts=on,cluster_size=2048"), ("-c",)])
async def test_image_that_was_cut_off_is_refused(tmp_path: Path, options: tuple[str, ...]) -> None:
    image = whole_image(tmp_path / "a.qcow2", *options)
    assert (await inspect(SubprocessRunner(), image, "qcow2", MIB)).virtual_size_bytes == MIB
    with image.open("r+b") as file:
        file.truncate(image.stat().st_size * 55 // 100)
    with pytest.raises(AgentError, match=r"cut off|qemu-img says") as caught:
        await inspect(SubprocessRunner(), image, "qcow2", MIB)
    assert caught.value.code == codes.NOT_AN_IMAGE


@needs_qemu
@pytest.mark.parametrize(("bit", "words"), [(0, "not closed cleanly"), (1, "damaged")])
async def test_image_that_says_it_is_not_whole_is_refused(tmp_path: Path, bit: int, words: str) -> None:
    image = whole_image(tmp_path / "a.qcow2")
    with image.open("r+b") as file:
        file.seek(72)
        file.write(struct.pack(">Q", 1 << bit))
    with pytest.raises(AgentError, match=words):
        await inspect(SubprocessRunner(), image, "qcow2", MIB)


async def test_raw_file_of_part_of_a_sector_names_what_helps(tmp_path: Path) -> None:
    image = tmp_path / "a"
    image.write_bytes(b"\x01" * 510 + b"\x55\xaa" + b"x")
    with pytest.raises(AgentError, match="truncate -s %512 FILE"):
        await inspect(FakeRunner(), image, "raw", MIB)


async def test_iso_is_taken_as_one_only_if_it_is_said_to_be_one(tmp_path: Path) -> None:
    iso, disk = tmp_path / "iso", tmp_path / "disk"
    iso.write_bytes(b"\0" * 0x8001 + b"CD001" + b"\0" * (65536 - 0x8006))
    disk.write_bytes(b"\0" * 510 + b"\x55\xaa")
    assert (await inspect(FakeRunner(), iso, "raw", MIB, iso=True)).virtual_size_bytes == 65536
    assert await code_of(iso, "raw") == codes.WRONG_FORMAT
    with pytest.raises(AgentError, match="said to be an ISO image, but it looks like a raw disk"):
        await inspect(FakeRunner(), disk, "raw", MIB, iso=True)


@needs_qemu
async def test_sizes_are_measured_without_a_program(tmp_path: Path) -> None:
    image, raw = whole_image(tmp_path / "a.qcow2"), tmp_path / "a.raw"
    assert measure(image, "qcow2").virtual_size_bytes == measure(raw, "raw").virtual_size_bytes == MIB
    assert 0 < measure(image, "qcow2").actual_size_bytes <= 2 * MIB
    with pytest.raises(AgentError):
        measure(raw, "qcow2")


@pytest.mark.parametrize("length", [4, 71, 72, 103, 104, 112])
async def test_truncated_header_is_refused(tmp_path: Path, length: int) -> None:
    header = bytearray(struct.pack(">4sI", b"QFI\xfb", 3).ljust(112, b"\0"))
    struct.pack_into(">I", header, 100, 104)
    image = tmp_path / "a"
    image.write_bytes(header[:length])
    assert await code_of(image) in (codes.NOT_AN_IMAGE, codes.WRONG_FORMAT)
