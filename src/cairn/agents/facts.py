"""Facts about the machine, and which host of the cloud it is: `Connect`, `GetFacts`."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from cairn.agents.blocking import in_thread
from cairn.agents.commands import handles
from cairn.agents.ids import check_uuid
from cairn.agents.programs import ProgramRunner
from cairn.agents.protocol.host import Connect, GetFacts, HostFacts
from cairn.agents.state import Record

_MOST_FORMER = 16


class Identity(Struct, frozen=True):
    """Which host of the cloud this machine is, and where it reports to."""

    host: str
    report_url: str | None = None
    former: list[str] = []  #: the hosts that it was before, the last one first


class HostState:
    """The identity, kept over restarts of the agent."""

    def __init__(self, record: Record[Identity]) -> None:
        self._record = record
        self._identity = record.load()

    @property
    def host(self) -> str | None:
        """The host's uuid; None before the first `Connect`."""
        return self._identity.host if self._identity is not None else None

    @property
    def former(self) -> list[str]:
        """The uuids of the hosts that the machine was before, without having been told to forget it; the last one first."""
        return self._identity.former if self._identity is not None else []

    @property
    def report_url(self) -> str | None:
        """The URL that reports go to; None: nowhere."""
        return self._identity.report_url if self._identity is not None else None

    def set(self, identity: Identity | None) -> None:
        """Change the identity; None forgets it."""
        self._identity = identity
        if identity is None:
            self._record.remove()
        else:
            self._record.save(identity)


class _AddressInfo(Struct):
    local: str = ""
    scope: str = ""


class _Link(Struct):
    addr_info: list[_AddressInfo] = []


class Facts:
    """Answers `Connect` and `GetFacts`.

    Args:
        state: the identity.
        runner: runs ``ip``.
        extend: adds what only the role knows (hypervisor, kernel features).
        root: where ``/proc`` and ``/etc`` are; another folder in tests.
    """

    def __init__(
        self,
        state: HostState,
        runner: ProgramRunner,
        extend: Callable[[HostFacts], Awaitable[HostFacts]] | None = None,
        root: Path = Path("/"),
    ) -> None:
        self._state = state
        self._runner = runner
        self._extend = extend
        self._root = root

    @handles(Connect)
    async def connect(self, command: Connect) -> HostFacts:
        """Remember which host this is, then answer the facts."""
        host = check_uuid("host", command.host)
        before = [self._state.host, *self._state.former] if self._state.host is not None else []
        former = [uuid for uuid in dict.fromkeys(before) if uuid is not None and uuid != host]
        await in_thread(self._state.set, Identity(host, command.report_url, former[:_MOST_FORMER]))
        return await self._facts()

    @handles(GetFacts)
    async def facts(self, _: GetFacts) -> HostFacts:
        """The facts as they are now; unlike `connect` it remembers nothing."""
        return await self._facts()

    async def _facts(self) -> HostFacts:
        machine = await in_thread(self._machine)
        facts = msgspec.structs.replace(machine, addresses=await self._addresses(), former=self._state.former)
        return await self._extend(facts) if self._extend is not None else facts

    async def _addresses(self) -> list[str]:
        done = await self._runner.run(["ip", "-j", "-4", "address", "show"])
        links = msgspec.json.decode(done.stdout or "[]", type=list[_Link])
        return [a.local for link in links for a in link.addr_info if a.scope == "global"]

    def _machine(self) -> HostFacts:
        release = _pairs(self._read("etc/os-release"), "=")
        memory = _pairs(self._read("proc/meminfo"), ":")
        cpuinfo = self._read("proc/cpuinfo")
        models = [v for k, v in _lines(cpuinfo, ":") if k == "model name"]
        sockets = {v for k, v in _lines(cpuinfo, ":") if k == "physical id"}
        return HostFacts(
            hostname=socket.gethostname(),
            architecture=platform.machine(),
            os_distribution=release.get("ID", "").strip('"'),
            os_version=release.get("VERSION_ID", "").strip('"'),
            kernel=platform.release(),
            cpu_model=models[0] if models else "",
            cpu_num=len(os.sched_getaffinity(0)),
            cpu_sockets=max(1, len(sockets)),
            memory_bytes=_kibibytes(memory.get("MemTotal", "0 kB")),
            available_memory_bytes=_kibibytes(memory.get("MemAvailable", "0 kB")),
        )

    def _read(self, path: str) -> str:
        try:
            return (self._root / path).read_text(errors="replace")
        except OSError:
            return ""


def _lines(text: str, separator: str) -> list[tuple[str, str]]:
    split = (line.partition(separator) for line in text.splitlines())
    return [(key.strip(), value.strip()) for key, found, value in split if found]


def _pairs(text: str, separator: str) -> dict[str, str]:
    return dict(_lines(text, separator))


def _kibibytes(value: str) -> int:
    return int(value.split()[0]) * 1024
