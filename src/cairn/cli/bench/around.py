"""The processes on this machine that serve an address, and those behind them: proxy, nodes, database, broker, simulator.

They are found as the kernel shows them, so nobody has to name them: who listens on the address, and who listens on those that it
is connected to. Processes of other users, and those on other machines, are not seen.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from cairn.cli.bench.gauge import Process

_PROC = Path("/proc")
_LISTEN, _ESTABLISHED = "0A", "01"
_KINDS = {"mariadbd": "database", "mysqld": "database", "beam.smp": "broker", "haproxy": "proxy"}
_RESET_PEAK = "5"


class _Socket(Struct, frozen=True):
    """A TCP socket of this machine."""

    port: int
    peer_port: int
    peer_is_here: bool
    listens: bool


class Local(Struct, frozen=True):
    """A process on this machine."""

    name: str  #: ``node``, ``node-2``, ``simulator``, ``database``, ``broker``, ``proxy``, or its program's
    pid: int


class Usage(Struct, frozen=True):
    """What a process has used up to one moment."""

    cpu_seconds: float
    peak_memory_bytes: int


def around(urls: Sequence[str], proc: Path = _PROC) -> list[Local]:
    """The processes that serve these addresses, and those that they are connected to; nodes first."""
    sockets = dict(_sockets(proc))
    owners = _owners(sockets, proc)
    listening = _listening(sockets, owners)
    found: dict[int, str] = {}
    waiting = [pid for url in urls for pid in listening.get(_port(url), [])]
    while waiting:
        pid = waiting.pop(0)
        if pid in found or pid == os.getpid():
            continue
        found[pid] = kind_of(pid, proc)
        for inode, one in sockets.items():
            if owners.get(inode) == pid and not one.listens and one.peer_is_here:
                waiting += listening.get(one.peer_port, [])
    return _named(found)


def listeners(urls: Sequence[str], proc: Path = _PROC) -> list[int]:
    """The processes that listen on these addresses."""
    sockets = dict(_sockets(proc))
    listening = _listening(sockets, _owners(sockets, proc))
    return [pid for url in urls for pid in listening.get(_port(url), [])]


def kind_of(pid: int, proc: Path = _PROC) -> str:
    """What a process is: a part of the cloud, or the name of its program."""
    words = command_of(pid, proc)
    if "cairn.simulator.main" in words or "simulator" in words:
        return "simulator"
    if "serve" in words:
        return "node"
    with suppress(OSError):
        program = (proc / str(pid) / "comm").read_text().strip()
        return _KINDS.get(program, program)
    return "gone"


def command_of(pid: int, proc: Path = _PROC) -> list[str]:
    """The command line of a process; empty when it cannot be seen."""
    with suppress(OSError):
        return [
            part.decode(errors="replace") for part in (proc / str(pid) / "cmdline").read_bytes().split(b"\0") if part
        ]
    return []


def usage_of(pid: int, proc: Path = _PROC) -> Usage | None:
    """What a process has used; None when it is gone."""
    try:
        fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
        lines = (proc / str(pid) / "status").read_text().splitlines()
    except OSError:
        return None
    peak = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
    return Usage((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), peak)


class Meter:
    """Measures what processes use from its making on.

    Args:
        processes: of which.
        proc: where the kernel shows processes.
        since_start: from the start of each process instead.
    """

    def __init__(self, processes: Sequence[Local], proc: Path = _PROC, *, since_start: bool = False) -> None:
        self._proc = proc
        self._begun: dict[Local, Usage] = dict.fromkeys(processes, Usage(0.0, 0)) if since_start else {}
        for one in () if since_start else processes:
            with suppress(OSError):
                (proc / str(one.pid) / "clear_refs").write_text(_RESET_PEAK)  # the peak counts from now on
            usage = usage_of(one.pid, proc)
            if usage is not None:
                self._begun[one] = usage

    def read(self) -> list[Process]:
        """What each has used since; those that are gone are left out."""
        return [
            Process(
                name=one.name,
                cpu_seconds=round(now.cpu_seconds - before.cpu_seconds, 2),
                peak_memory_bytes=now.peak_memory_bytes,
            )
            for one, before in self._begun.items()
            if (now := usage_of(one.pid, self._proc)) is not None
        ]


def kill(pid: int) -> None:
    """Kill a process at once, as a power cut does. One that is gone is left alone."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _named(found: Mapping[int, str]) -> list[Local]:
    seen: dict[str, int] = {}
    named: list[Local] = []
    for pid, kind in sorted(found.items(), key=lambda one: (one[1] != "node", one[1], one[0])):
        seen[kind] = seen.get(kind, 0) + 1
        named.append(Local(kind if seen[kind] == 1 else f"{kind}-{seen[kind]}", pid))
    return named


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def _sockets(proc: Path) -> Iterator[tuple[str, _Socket]]:
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (proc / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] in (_LISTEN, _ESTABLISHED):
                    own, peer = fields[1].split(":"), fields[2].split(":")
                    here = fields[3] == _ESTABLISHED and (_is_loopback(peer[0]) or peer[0] == own[0])
                    yield fields[9], _Socket(int(own[1], 16), int(peer[1], 16), here, fields[3] == _LISTEN)


def _is_loopback(text: str) -> bool:
    """Whether an address is one of this machine's own; the kernel writes it in words of 32 bits, in the machine's byte order."""
    raw = b"".join(bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8))
    address = ip_address(raw[12:] if raw[:12] == bytes(10) + b"\xff\xff" else raw)
    return address.is_loopback


def _listening(sockets: Mapping[str, _Socket], owners: Mapping[str, int]) -> dict[int, list[int]]:
    """port -> the processes that listen there."""
    found: dict[int, list[int]] = {}
    for inode, one in sockets.items():
        if one.listens and inode in owners:
            found.setdefault(one.port, []).append(owners[inode])
    return found


def _owners(sockets: Mapping[str, _Socket], proc: Path) -> dict[str, int]:
    """socket -> the process that has it."""
    owners: dict[str, int] = {}
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError):
            for file in (folder / "fd").iterdir():
                with suppress(OSError):
                    target = os.readlink(file)
                    if target.startswith("socket:[") and target[8:-1] in sockets:
                        owners.setdefault(target[8:-1], int(folder.name))
    return owners
