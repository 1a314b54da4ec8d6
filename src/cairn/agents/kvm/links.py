"""Reads the machine's links, addresses and routes from `ip -json`, and runs batches of changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from cairn.agents.programs import ProgramRunner


class Address(Struct, frozen=True):
    """An address of a link."""

    local: str
    prefixlen: int
    scope: str = "global"
    broadcast: str | None = None


class Route(Struct, frozen=True):
    """A route of the main table."""

    dst: str
    gateway: str | None = None
    metric: int | None = None
    prefsrc: str | None = None
    protocol: str = ""


class _Link(Struct):
    ifname: str = ""
    address: str = ""
    addr_info: list[Address] = []


class _FdbEntry(Struct):
    mac: str
    dst: str | None = None


class Links:
    """The machine's network, by way of ``ip`` and ``bridge``."""

    def __init__(self, runner: ProgramRunner, sys_net: Path = Path("/sys/class/net")) -> None:
        self.runner = runner
        self._sys_net = sys_net

    def exists(self, name: str) -> bool:
        """Whether there is an interface of that name."""
        return (self._sys_net / name).exists()

    def is_bridge(self, name: str) -> bool:
        """Whether it is a bridge."""
        return (self._sys_net / name / "bridge").is_dir()

    def ports(self, bridge: str) -> list[str]:
        """Find the ports of a bridge; a bridge that does not exist has none."""
        folder = self._sys_net / bridge / "brif"
        return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []

    def bridge_of(self, name: str) -> str | None:
        """The bridge whose port the interface is."""
        master = self._sys_net / name / "master"
        return master.resolve().name if master.exists() else None

    def mac(self, name: str) -> str:
        """The interface's MAC address."""
        return (self._sys_net / name / "address").read_text().strip()

    async def addresses(self, name: str) -> list[Address]:
        """The link's IPv4 addresses, and the IPv6 ones that are not link-local."""
        done = await self.runner.run(["ip", "-j", "address", "show", "dev", name])
        links = msgspec.json.decode(done.stdout or "[]", type=list[_Link])
        return [a for link in links for a in link.addr_info if a.scope == "global"]

    async def local_addresses(self) -> set[str]:
        """All IPv4 addresses of the machine."""
        done = await self.runner.run(["ip", "-j", "-4", "address", "show"])
        links = msgspec.json.decode(done.stdout or "[]", type=list[_Link])
        return {a.local for link in links for a in link.addr_info}

    async def routes(self, name: str) -> list[Route]:
        """The IPv4 routes over the link, without those that the kernel makes for its addresses."""
        done = await self.runner.run(["ip", "-j", "-4", "route", "show", "dev", name])
        routes = msgspec.json.decode(done.stdout or "[]", type=list[Route])
        return [r for r in routes if r.protocol != "kernel"]

    async def flooded_peers(self, vxlan: str) -> set[str]:
        """The addresses to which a VXLAN port sends broadcasts."""
        done = await self.runner.run(["bridge", "-j", "fdb", "show", "dev", vxlan])
        entries = msgspec.json.decode(done.stdout or "[]", type=list[_FdbEntry])
        return {e.dst for e in entries if e.mac == "00:00:00:00:00:00" and e.dst is not None}

    async def batch(self, lines: Sequence[str], *, force: bool = False) -> None:
        """Many ``ip`` commands in one process, so that even the agent's own connection survives them.

        `force`: go on after a failing line, and ignore its error.
        """
        argv = ["ip", *(["-force"] if force else []), "-batch", "-"]
        await self.runner.run(argv, stdin="".join(f"{line}\n" for line in lines), check=not force)
