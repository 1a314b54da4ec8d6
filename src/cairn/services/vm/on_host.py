"""VMs as users of hosts."""

from __future__ import annotations

from collections.abc import Sequence

from cairn.kernel.bus.message import Command
from cairn.kernel.store.store import Tx
from cairn.services.host.extensions import HostRemoval
from cairn.services.host.model import HostClaim
from cairn.services.ids import HostId
from cairn.services.vm.messages import LeaveHost
from cairn.services.vm.model import StrayVm, VmInstance
from cairn.services.vm.upkeep.strays import Strays


class VmsOnHost(HostRemoval):
    """Keeps a host from going while VMs are on it."""

    def __init__(self, strays: Strays) -> None:
        self._strays = strays

    def why_not_remove(self, tx: Tx, host: HostId) -> str | None:
        """Count the VMs that are placed there."""
        count = tx.count(VmInstance, host_uuid=host)
        if count:
            return f"{count} VMs are on it"
        strays = tx.count(StrayVm, host_uuid=host)
        return f"{strays} stray VMs are on it (query StrayVm; RemoveStrayVm removes one)" if strays else None

    def users(self, tx: Tx, host: HostId) -> list[Sequence[Command[object]]]:
        """Every VM that is there has to leave, and every one that has a claim."""
        there = {row.uuid for row in tx.find(VmInstance, host_uuid=host)}
        claimed = {row.vm_uuid for row in tx.find(HostClaim, host_uuid=host)}
        return [[LeaveHost(vm=vm, host=host)] for vm in sorted(there | claimed)]

    def host_removed(self, tx: Tx, host: HostId) -> None:
        """Forget the host's strays. `last_host_uuid` is not a reference."""
        self._strays.forget_all(tx, host)
