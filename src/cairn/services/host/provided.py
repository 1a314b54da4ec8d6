"""The host service's objects for other services: calls to hosts' agents, and the ledger of claims."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.machine.agents import MachineAgents
from cairn.kernel.queue import queue_key
from cairn.kernel.store.store import Tx
from cairn.services.ids import HostId, VmId

#: the kind of debt that is a file, by its path
FILE_DEBT: Final = "file"


class HostAgents(MachineAgents[HostId], Protocol):
    """Calls to hosts' agents. One that lacks a plugin's command is told of by ``host.agent-lacks-command``."""


class HostLedger(Protocol):
    """The capacity that VMs hold of hosts, for VMs that started, stopped or moved by themselves."""

    def hold(self, tx: Tx, vm: VmId, host: HostId, *, cpu_num: int, memory_bytes: int) -> None:
        """Book the VM on that host, whether it fits or not. Safe to repeat."""

    def release(self, tx: Tx, vm: VmId) -> HostId | None:
        """Give back what the VM holds. Returns the host; None when it held nothing. Safe to repeat."""


class HostDebts(Protocol):
    """What is still to be removed on machines that could not be reached when it was removed from the cloud."""

    def register(self, kind: str, collect: Callable[[HostId, str], Awaitable[None]]) -> None:
        """Say how debts of a kind are collected: `collect` removes the thing on a host. Nothing there is success."""

    def owe(self, tx: Tx, host: HostId, kind: str, what: str, error: CairnError | str) -> None:
        """Note that something is left on a host, because of `error`, or for a reason in words.

        Safe to repeat; a host that nobody knows owes nothing.
        """


class HostSyncs(Protocol):
    """Brings parts of hosts in line with the database, each on its own: one that fails does not keep a host from connecting."""

    def register(self, kind: str, work: Callable[[HostId, str], Awaitable[None]]) -> None:
        """Say how a part is brought in line: `work` is given the host, and which one of several. Safe to repeat."""

    async def sync(
        self, host: HostId, kind: str, subject: str = "", *, work: Callable[[], Awaitable[None]] | None = None
    ) -> bool:
        """Do the part's work. If it fails, a `HostFault` says why until it succeeds, and it is tried again.

        Args:
            work: does the same with what the caller has looked up already; None: the work that was registered.

        Raises:
            CairnError: ``agent.stale-epoch`` alone: another node has taken over what it was done for.
        """

    def later(self, host: HostId, kind: str, subject: str = "", *, reason: str) -> None:
        """Have a part brought in line when the host is connected and its turn comes: there is a `reason` to. Does nothing now."""

    def failing(self, host: HostId, kind: str, subject: str = "") -> str | None:
        """Why a part is not in line, as far as this node knows; None: it is."""


def network_queue(host: HostId) -> str:
    """The queue in which all that changes a host's networks takes its turn: bridges, DHCP, metadata."""
    return queue_key("host-network", host)


def lacks_command(error: CairnError) -> bool:
    """Tell whether a host's agent is of a version that does not know the command; it is replaced in its turn."""
    return error.code == "host.agent-lacks-command"


def is_out_of_reach(error: CairnError) -> bool:
    """Tell whether an error says nothing of the command itself: the host is lost, or did not answer in time, or is gone."""
    return error.kind in (ErrorKind.UNAVAILABLE, ErrorKind.TIMEOUT) or error.code == "host.not-found"
