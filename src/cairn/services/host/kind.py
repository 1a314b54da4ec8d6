"""Hosts as a kind of machine."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog
from sqlalchemy import Update, bindparam, update

from cairn.agents.protocol.host import Connect, Forget
from cairn.agents.protocol.wire import Pong
from cairn.kernel.error import CairnError
from cairn.kernel.event import Events
from cairn.kernel.machine.agents import MachineAgents
from cairn.kernel.machine.kind import MachineKind
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Tx
from cairn.services.host import config
from cairn.services.host.extensions import HostMeasured, HostPinged, HostRemoval, Hypervisor
from cairn.services.host.messages import HostStatusChanged, ReconnectHost
from cairn.services.host.model import Host, HostChanges, HostClaim, HostState
from cairn.services.ids import ClusterId, HostId

_changes = table_of(HostChanges)
_COUNT_UP: Update = (
    update(_changes).where(_changes.c.cluster_uuid == bindparam("cluster")).values(number=_changes.c.number + 1)
)
_log = structlog.get_logger("cairn.host")


class HostKind(MachineKind[Host]):
    """Hosts, as a kind of machine: their pings report VMs, and a host with VMs is removed by force only."""

    record = Host
    settings = config.MACHINE
    closed = HostState.MAINTENANCE
    enforceable = True
    remedy = "Move or expunge them first, or use deleteMode=Enforcing, which removes them."

    def __init__(self, events: Events, extensions: Extensions, report_url: Callable[[], str | None]) -> None:
        super().__init__(events)
        self._extensions = extensions
        self._report_url = report_url

    def driver(self, row: Host) -> Hypervisor:
        """Find the hypervisor's driver (``plugin.no-extension``)."""
        return self._extensions.named(Hypervisor, row.hypervisor_type)

    def status_changed(self, row: Host, status: MachineStatus, reason: str | None) -> HostStatusChanged:
        """Make the event that a host's status changed."""
        return HostStatusChanged(host=row.uuid, name=row.name, before=row.status, status=status, reason=reason)

    def reconnecting(self, uuid: str) -> ReconnectHost:
        """Make the call that connects a host again."""
        return ReconnectHost(uuid=uuid)

    def connecting(self, uuid: str) -> Connect:
        """Make the first command for a host's agent."""
        return Connect(host=uuid, report_url=self._report_url())

    def may_be_tried(self, row: Host) -> bool:
        """Leave a host in maintenance to those who work on it, until its agent answers again."""
        return row.state is not HostState.MAINTENANCE

    def is_known(self, row: Host, pong: Pong) -> bool:
        """Also require that the agent knows which host it is on."""
        return pong.host == row.uuid and super().is_known(row, pong)

    async def pinged(self, agents: MachineAgents[str], row: Host, pong: Pong, asked_at: datetime) -> None:
        """Pass on the states of the host's VMs, so that a report that got lost is made up for, and how full its disks are."""
        for listener in self._extensions.of(HostPinged):
            await listener.host_pinged(row.uuid, pong.vms, asked_at)
        for measured in self._extensions.of(HostMeasured):
            await measured.host_measured(row.uuid, pong.folders)

    def why_not_remove(self, tx: Tx, uuid: str) -> list[str]:
        """Ask the users of hosts; if none refuses, count the VMs that hold capacity."""
        guards = self._extensions.of(HostRemoval)
        reasons = [reason for guard in guards if (reason := guard.why_not_remove(tx, HostId(uuid))) is not None]
        claims = tx.count(HostClaim, host_uuid=uuid)
        return reasons or ([f"{claims} VMs hold capacity of it"] if claims else [])

    async def clean(self, agents: MachineAgents[str], uuid: str) -> None:
        """Have the users of hosts remove what they keep there, and the agent forget that it is a host."""
        for guard in self._extensions.of(HostRemoval):
            if left := await guard.host_leaving(HostId(uuid)):
                _log.warning("host.things-left", host=uuid, left=left)
        await agents.call(uuid, Forget(), timeout_seconds=60.0)

    def removed(self, tx: Tx, uuid: str) -> None:
        """Have the users of hosts remove what points to the host."""
        row = tx.get(Host, uuid)
        if row is not None:
            note_change(tx, row.cluster_uuid)
        for guard in self._extensions.of(HostRemoval):
            guard.host_removed(tx, HostId(uuid))


def note_change(tx: Tx, cluster: ClusterId) -> None:
    """Count that a host comes to the cluster, leaves it, or gets another address, in this transaction."""
    if tx.execute(_COUNT_UP, {"cluster": cluster}):
        return
    try:
        tx.insert(HostChanges(cluster_uuid=cluster, number=1))
    except CairnError as error:
        if error.code != "store.duplicate":
            raise
        tx.execute(_COUNT_UP, {"cluster": cluster})  # another node has noted its first change meanwhile
