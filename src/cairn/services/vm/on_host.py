"""VMs as users of hosts."""

from __future__ import annotations

from cairn.kernel.store.store import Tx
from cairn.services.host.extensions import HostRemoval
from cairn.services.ids import HostId
from cairn.services.vm.model import VmInstance


class VmsOnHost(HostRemoval):
    """Keeps a host from going while VMs are on it."""

    def why_not_remove(self, tx: Tx, host: HostId) -> str | None:
        """Count the VMs that are placed there."""
        count = tx.count(VmInstance, host_uuid=host)
        return f"{count} VMs are on it" if count else None

    def host_removed(self, tx: Tx, host: HostId) -> None:
        """Do nothing: `last_host_uuid` is not a reference."""
