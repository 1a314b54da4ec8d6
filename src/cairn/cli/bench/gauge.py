"""Measures what a run costs the node: CPU time and memory, from ``/metrics`` and, where it is on this machine, the kernel."""

from __future__ import annotations

import re
import resource
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from cairn.cli.errors import CliError
from cairn.cli.http import Http
from cairn.cli.session import is_local
from cairn.cli.up.holder import holder
from cairn.kernel.membership import NODE_LOCK

_LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
#: Written into a process's clear_refs it makes its peak memory what it is now.
_RESET_PEAK = "5"


class Reading(Struct, frozen=True, kw_only=True):
    """What the node used up to one moment."""

    cpu_seconds: float
    memory_bytes: int
    store: str
    durable: bool | None
    bus: str = "memory"


class Process(Struct, frozen=True, kw_only=True):
    """What a process used in a run."""

    name: str
    cpu_seconds: float
    peak_memory_bytes: int


class Gauge:
    """Reads what a node's process uses.

    Args:
        http: the node.
        data_dir: its data folder, if it is on this machine.
        proc: where the kernel shows processes.
        headers: that show the node who asks; its metrics are for administrators.
    """

    def __init__(
        self, http: Http, data_dir: Path, proc: Path = Path("/proc"), headers: Mapping[str, str] | None = None
    ) -> None:
        self._http = http
        self._headers = headers
        self._folder = _process(http.url, data_dir, proc)

    def reset_peak(self) -> None:
        """Count the peak from now on, where that is allowed."""
        if self._folder is not None:
            with suppress(OSError):
                (self._folder / "clear_refs").write_text(_RESET_PEAK)

    def read(self) -> Reading:
        """Read what the node says of itself now, from its metrics."""
        values: dict[str, float] = {}
        labels: dict[str, str] = {}
        bus = "memory"
        for name, inside, number in _LINE.findall(
            self._http.request("GET", "/metrics", headers=self._headers).body.decode()
        ):
            if name == "cairn_store_info":
                labels = dict(_LABEL.findall(inside))
            elif name == "cairn_bus_info":
                bus = dict(_LABEL.findall(inside)).get("bus", bus)
            elif name.startswith("process_"):
                values[name] = float(number)
        return Reading(
            cpu_seconds=values.get("process_cpu_seconds_total", 0.0),
            memory_bytes=int(values.get("process_resident_memory_bytes", 0)),
            store=labels.get("store", "unknown"),
            durable={"true": True, "false": False}.get(labels.get("durable", "")),
            bus=bus,
        )

    def peak_bytes(self, reading: Reading) -> int:
        """The most memory that the node had; of a node elsewhere, what it has now."""
        if self._folder is not None:
            with suppress(OSError, StopIteration, ValueError):
                lines = (self._folder / "status").read_text().splitlines()
                return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) * 1024
        return reading.memory_bytes


def own_peak_bytes() -> int:
    """The most memory that this process had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _process(url: str, data_dir: Path, proc: Path) -> Path | None:
    """The folder of the node's process; it holds the lock of its data folder."""
    if not is_local(url):
        return None
    with suppress(CliError):
        found = holder(data_dir / NODE_LOCK, proc)
        if found is not None and found.pid is not None and found.runs("serve"):
            return proc / str(found.pid)
    return None
