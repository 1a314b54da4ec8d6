"""What the host service gives others."""

from __future__ import annotations

from typing import Protocol

from cairn.kernel.machine.agents import MachineAgents
from cairn.kernel.store.store import Tx
from cairn.services.ids import HostId, VmId


class HostAgents(MachineAgents[HostId], Protocol):
    """The way to every host's agent."""


class HostLedger(Protocol):
    """The book of what VMs hold of hosts, for those that moved by themselves."""

    def hold(self, tx: Tx, vm: VmId, host: HostId, *, cpu_num: int, memory_bytes: int) -> None:
        """The VM is on that host, whether it fits or not. Safe to repeat."""

    def release(self, tx: Tx, vm: VmId) -> HostId | None:
        """The VM is on no host; returns where it was. Safe to repeat."""
