from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cairn.agents.qcow2 import Header, NotQcow2, read_header

needs_qemu = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-utils is not installed")


def made(path: Path, *arguments: str) -> Header:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *arguments[:-1], str(path), arguments[-1]], check=True)
    return read_header(path)


@needs_qemu
@pytest.mark.parametrize("compat", ["0.10", "1.1"])
def test_header_tells_size_and_that_nothing_is_named(tmp_path: Path, compat: str) -> None:
    header = made(tmp_path / "a", "-o", f"compat={compat}", "3T")
    assert (header.size_bytes, header.backing_path) == (3 << 40, None)
    assert not (header.encrypted or header.external_data or header.dirty or header.corrupt)


@needs_qemu
@pytest.mark.parametrize("compat", ["0.10", "1.1"])
def test_header_tells_the_backing_file(tmp_path: Path, compat: str) -> None:
    made(tmp_path / "base", "8M")
    backing = ("-b", str(tmp_path / "base"), "-F", "qcow2")
    header = made(tmp_path / "a", "-o", f"compat={compat}", *backing, "9M")
    assert (header.size_bytes, header.backing_path) == (9 << 20, str(tmp_path / "base"))


@needs_qemu
def test_data_file_is_seen_even_if_the_feature_is_hidden(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert made(path, "-o", f"data_file={tmp_path / 'data'}", "1M").external_data
    content = bytearray(path.read_bytes())
    struct.pack_into(">Q", content, 72, 0)
    path.write_bytes(content)
    assert read_header(path).external_data


@pytest.mark.parametrize("length", [0, 4, 71, 72, 103])
def test_header_that_is_cut_off_is_refused(tmp_path: Path, length: int) -> None:
    (tmp_path / "a").write_bytes(struct.pack(">4sI", b"QFI\xfb", 3).ljust(112, b"\0")[:length])
    with pytest.raises(NotQcow2):
        read_header(tmp_path / "a")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400), st.sampled_from([2, 3]))
def test_no_header_makes_the_reader_fail_otherwise(tmp_path: Path, rest: bytes, version: int) -> None:
    (tmp_path / "a").write_bytes(struct.pack(">4sI", b"QFI\xfb", version) + rest)
    try:
        header = read_header(tmp_path / "a")
    except NotQcow2:
        return
    assert header.size_bytes >= 0
    assert header.backing_path is None or len(header.backing_path) <= 1023
