from __future__ import annotations

from pathlib import Path

from tests.unit.cli.fakes import FakeNode, served

from cairn.cli.bench.gauge import Gauge
from cairn.cli.http import HttpClient

METRICS = """\
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 12.5
process_resident_memory_bytes 1.048576e+06
cairn_store_info{durable="true",store="sqlite"} 1
"""


def _process(folder: Path) -> None:
    (folder / "node.lock").write_text("42\n")
    process = folder / "proc" / "42"
    process.mkdir(parents=True)
    (process / "cmdline").write_bytes(b"python\0-m\0cairn.cli.main\0serve\0")
    (process / "status").write_text("Name: x\nVmHWM:\t    2048 kB\n")
    (process / "clear_refs").write_text("")


def test_costs_are_read_off_the_node_and_the_kernel(tmp_path: Path) -> None:
    node = FakeNode()
    node.metrics = METRICS
    _process(tmp_path)
    with served(node):
        gauge = Gauge(HttpClient(node.url), tmp_path, tmp_path / "proc")
        gauge.reset_peak()
        reading = gauge.read()
    assert (reading.cpu_seconds, reading.memory_bytes) == (12.5, 1 << 20)
    assert (reading.store, reading.durable) == ("sqlite", True)
    assert gauge.peak_bytes(reading) == 2 << 20
    assert (tmp_path / "proc" / "42" / "clear_refs").read_text() == "5"


def test_node_elsewhere_has_the_memory_that_it_tells(tmp_path: Path) -> None:
    node = FakeNode()
    with served(node):
        gauge = Gauge(HttpClient(node.url), tmp_path, tmp_path / "proc")
        reading = gauge.read()
    assert (reading.store, reading.durable) == ("unknown", None)
    assert gauge.peak_bytes(reading) == 0
