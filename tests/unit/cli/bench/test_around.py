from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from cairn.cli.bench.around import Local, Meter, around, command_of, kill, kind_of, usage_of

TICKS = os.sysconf("SC_CLK_TCK")


class Kernel:
    """A folder like /proc."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._inodes = iter(range(100, 200))
        self._tables: dict[str, list[str]] = {"tcp": ["header"], "tcp6": ["header"]}
        (folder / "net").mkdir()

    def process(self, pid: int, command: str, program: str = "python") -> None:
        place = self.folder / str(pid)
        (place / "fd").mkdir(parents=True)
        (place / "cmdline").write_bytes(command.replace(" ", "\0").encode() + b"\0")
        (place / "comm").write_text(program + "\n")
        self.uses(pid, 0.0, 1024)

    def uses(self, pid: int, cpu_seconds: float, peak_kb: int) -> None:
        ticks = int(cpu_seconds * TICKS)
        fields = ["S", *["0"] * 10, str(ticks), "0", *["0"] * 10]
        (self.folder / str(pid) / "stat").write_text(f"{pid} (a name (with) brackets) {' '.join(fields)}\n")
        (self.folder / str(pid) / "status").write_text(f"Name:\tx\nVmHWM:\t  {peak_kb} kB\n")

    def socket(self, pid: int, own: str, peer: str = "00000000:0000", *, table: str = "tcp") -> None:
        inode, state = next(self._inodes), "0A" if peer.endswith(":0000") else "01"
        self._tables[table].append(f"  0: {own} {peer} {state} 0:0 0:0 0 0 0 {inode} 1")
        os.symlink(f"socket:[{inode}]", self.folder / str(pid) / "fd" / str(inode))
        for name, lines in self._tables.items():
            (self.folder / "net" / name).write_text("\n".join(lines) + "\n")


def port(number: int, address: str = "0100007F") -> str:
    return f"{address}:{number:04X}"


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


def test_the_nodes_and_what_they_are_connected_to_are_found(kernel: Kernel) -> None:
    kernel.process(9, "/usr/sbin/haproxy -f x", "haproxy")
    kernel.process(10, "python -m cairn.cli.main serve")
    kernel.process(11, "/usr/bin/cairn serve")
    kernel.process(12, "python -m cairn.simulator.main")
    kernel.process(13, "/usr/sbin/mariadbd", "mariadbd")
    kernel.process(14, "erl", "beam.smp")
    kernel.process(15, "sshd", "sshd")
    kernel.socket(9, port(8080))
    for pid, listens in ((10, 8081), (11, 8082), (12, 7190), (13, 3306), (15, 22)):
        kernel.socket(pid, port(listens))
    kernel.socket(14, "0" * 32 + f":{5672:04X}", "0" * 32 + ":0000", table="tcp6")
    kernel.socket(9, port(40001), port(8081))
    kernel.socket(9, port(40002), port(8082))
    for local, peer in ((40003, 7190), (40004, 3306), (40005, 5672)):
        kernel.socket(10, port(local), port(peer))
    kernel.socket(10, port(40006), port(22, "0A00000A"))  # on another machine

    found = around(["http://127.0.0.1:8080"], kernel.folder)

    assert found == [
        Local("node", 10),
        Local("node-2", 11),
        Local("broker", 14),
        Local("database", 13),
        Local("proxy", 9),
        Local("simulator", 12),
    ]


def test_an_address_that_nobody_here_listens_on_has_no_processes(kernel: Kernel) -> None:
    kernel.process(10, "cairn serve")
    kernel.socket(10, port(8081))

    assert around(["http://127.0.0.1:9999", "https://example.org"], kernel.folder) == []


def test_a_real_listener_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        # this process itself is the load, and is left out
        assert around([f"http://127.0.0.1:{server.getsockname()[1]}"]) == []
    assert command_of(os.getpid())
    usage = usage_of(os.getpid())
    assert usage is not None
    assert usage.peak_memory_bytes > 1 << 20


def test_what_is_used_is_counted_from_the_beginning(kernel: Kernel) -> None:
    kernel.process(10, "cairn serve")
    kernel.process(11, "cairn serve")
    kernel.uses(10, 5.0, 2048)
    meter = Meter([Local("node", 10), Local("node-2", 11), Local("gone", 99)], kernel.folder)
    kernel.uses(10, 7.5, 4096)
    (kernel.folder / "11" / "stat").unlink()

    (used,) = meter.read()

    assert (used.name, used.cpu_seconds, used.peak_memory_bytes) == ("node", 2.5, 4096 * 1024)
    assert (kernel.folder / "10" / "clear_refs").read_text() == "5"


def test_a_process_that_is_gone_has_no_kind_and_is_not_killed(kernel: Kernel) -> None:
    assert kind_of(99, kernel.folder) == "gone"
    assert command_of(99, kernel.folder) == []
    kill(2**22 + 1)  # more than the kernel gives
    assert usage_of(99, kernel.folder) is None
