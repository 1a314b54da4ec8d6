"""The interface between an agent and the role that it plays."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Protocol

from aiohttp import web

from cairn.agents.protocol.vm import PowerState
from cairn.agents.protocol.wire import Space


class AgentRole(Protocol):
    """A role: command handlers, the VMs that a ping tells, routes of its own, and work in the background."""

    @property
    def areas(self) -> Sequence[object]:
        """Objects with methods marked by `commands.handles`."""

    @property
    def host(self) -> str | None:
        """The host's uuid as told by `Connect`."""

    async def vms(self) -> dict[str, PowerState]:
        """The VMs of this machine, for the ping. Raises `AgentError` when they cannot be known: then there is no pong."""

    async def spaces(self) -> dict[str, Space]:
        """The space under this machine's storage folders, for the ping. Answers within a second, whatever the disks do."""

    def add_routes(self, app: web.Application) -> None:
        """Add routes that any certificate of the cloud's authority may call."""

    async def start(self) -> None:
        """Bring back what should be there, and begin the background work."""

    async def stop(self) -> None:
        """End the background work. VMs and networks go on."""


def version() -> str:
    """The version of the cairn distribution that is running; ``0`` from a source tree that is not installed."""
    try:
        return metadata.version("cairn-cloud")
    except metadata.PackageNotFoundError:
        return "0"
