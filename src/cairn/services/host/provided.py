"""The host service's objects for other services: calls to hosts' agents, and the ledger of claims."""

from __future__ import annotations

from typing import Protocol

from cairn.kernel.machine.agents import MachineAgents
from cairn.kernel.store.store import Tx
from cairn.services.ids import HostId, VmId


class HostAgents(MachineAgents[HostId], Protocol):
    """Calls to hosts' agents."""


class HostLedger(Protocol):
    """The capacity that VMs hold of hosts, for VMs that started, stopped or moved by themselves."""

    def hold(self, tx: Tx, vm: VmId, host: HostId, *, cpu_num: int, memory_bytes: int) -> None:
        """Book the VM on that host, whether it fits or not. Safe to repeat."""

    def release(self, tx: Tx, vm: VmId) -> HostId | None:
        """Give back what the VM holds. Returns the host; None when it held nothing. Safe to repeat."""
