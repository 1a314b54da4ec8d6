from __future__ import annotations

import os
from pathlib import Path

from tests.unit.cli.fakes import FakeNode, served

from cairn.cli.bench.gauge import Gauge
from cairn.cli.http import HttpClient
from cairn.kernel.membership import FolderLock

METRICS = """\
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 12.5
process_resident_memory_bytes 1.048576e+06
cairn_store_info{durable="true",store="sqlite"} 1
"""


def _process(folder: Path) -> FolderLock:
    """A node that works in the folder, as the kernel shows it."""
    lock = FolderLock(folder)
    process = folder / "proc" / str(os.getpid())
    (process / "fd").mkdir(parents=True)
    (process / "fd" / "5").symlink_to(folder / "node.lock")
    (process / "cmdline").write_bytes(b"python\0-m\0cairn.cli.main\0serve\0")
    (process / "status").write_text("Name: x\nVmHWM:\t    2048 kB\n")
    (process / "clear_refs").write_text("")
    return lock


def test_costs_are_read_off_the_node_and_the_kernel(tmp_path: Path) -> None:
    node = FakeNode()
    node.metrics = METRICS
    lock = _process(tmp_path)
    with served(node):
        gauge = Gauge(HttpClient(node.url), tmp_path, tmp_path / "proc")
        gauge.reset_peak()
        reading = gauge.read()
    assert (reading.cpu_seconds, reading.memory_bytes) == (12.5, 1 << 20)
    assert (reading.store, reading.durable) == ("sqlite", True)
    assert gauge.peak_bytes(reading) == 2 << 20
    assert (tmp_path / "proc" / str(os.getpid()) / "clear_refs").read_text() == "5"
    lock.release()


def test_number_that_a_dead_node_has_left_is_nobodys(tmp_path: Path) -> None:
    node = FakeNode()
    _process(tmp_path).release()
    with served(node):
        gauge = Gauge(HttpClient(node.url), tmp_path, tmp_path / "proc")
        gauge.reset_peak()
    assert (tmp_path / "proc" / str(os.getpid()) / "clear_refs").read_text() == ""


def test_node_elsewhere_has_the_memory_that_it_tells(tmp_path: Path) -> None:
    node = FakeNode()
    with served(node):
        gauge = Gauge(HttpClient(node.url), tmp_path, tmp_path / "proc")
        reading = gauge.read()
    assert (reading.store, reading.durable) == ("unknown", None)
    assert gauge.peak_bytes(reading) == 0
