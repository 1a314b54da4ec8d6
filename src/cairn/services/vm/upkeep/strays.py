"""Strays: VMs of cairn that a host has and the database does not place there.

They come from backups of the database that were restored, from hosts that were lost and returned, from a disk that was put
into another machine. cairn never ends one by itself: it may be somebody's work. It is written down, so that administrators
see it (`StrayVm`), and what it takes of its host is claimed, so that no other VM is placed on memory that is not there. It is
removed when an administrator says so (`RemoveStrayVm`), and forgotten when the host has it no more.

What a host is known to have is kept in memory, read once for each host: a ping that says nothing new costs no look.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import structlog

from cairn.agents.protocol import vm as agent
from cairn.agents.protocol.vm import PowerState, VmSize
from cairn.kernel.error import CairnError
from cairn.kernel.ids import IdSource
from cairn.kernel.invalidation import Keys
from cairn.kernel.store.store import Store, Tx
from cairn.services.host.model import HostClaim
from cairn.services.host.provided import HostAgents, HostLedger
from cairn.services.ids import HostId, VmId
from cairn.services.vm.model import StrayVm, VmInstance, VmState

_log = structlog.get_logger("cairn.vm.strays")
_ON = (PowerState.RUNNING, PowerState.PAUSED)
#: So many are written down of a host: it may name as many as it likes.
_MOST = 1000
_MOST_CPUS, _MOST_MEMORY_BYTES = 1024, 1 << 44


class Strays:
    """Keeps the table of strays true, as hosts report what they have."""

    def __init__(self, store: Store, ids: IdSource, agents: HostAgents, ledger: HostLedger) -> None:
        self._store = store
        self._ids = ids
        self._agents = agents
        self._ledger = ledger
        self._known: dict[HostId, frozenset[str]] = {}

    async def look(self, host: HostId, vms: Mapping[str, PowerState | None], own: Iterable[str]) -> None:
        """Take note of what a host has. `own`: what the database places there."""
        strange = frozenset(vm for vm, power in vms.items() if power in _ON).difference(own)
        known = self._known.get(host)
        if known is None:
            known = await self._store.read(
                lambda tx: frozenset(row.vm_uuid for row in tx.find(StrayVm, host_uuid=host))
            )
        if strange != known:
            sizes = await self._sizes(host) if strange - known else {}
            if sizes is None:
                return
            known = await self._store.write(lambda tx: self._note(tx, host, strange, sizes))
        self._known[host] = known

    async def _sizes(self, host: HostId) -> Mapping[str, VmSize] | None:
        """What the host's VMs take of it; None: it cannot be asked now, so the next ping has to do."""
        try:
            return (await self._agents.call(host, agent.ListVms(), timeout_seconds=30.0)).sizes
        except CairnError as error:
            _log.info("vm.strays-not-measured", host=host, error=str(error))
            return None

    def forget(self, tx: Tx, row: StrayVm) -> None:
        """A stray is gone: give back what it held. Safe to repeat."""
        self._ledger.release(tx, VmId(row.uuid))
        tx.delete(StrayVm, row.uuid)
        tx.after_commit(lambda: self._known.pop(row.host_uuid, None))

    def changed(self, keys: Keys) -> None:
        """Another node has noted or settled some: read again what is known of hosts."""
        self._known.clear()

    def forget_all(self, tx: Tx, host: HostId) -> None:
        """The host leaves the cloud, and its strays with it. Safe to repeat."""
        for row in tx.find(StrayVm, host_uuid=host):
            self.forget(tx, row)

    def _note(self, tx: Tx, host: HostId, strange: frozenset[str], sizes: Mapping[str, VmSize]) -> frozenset[str]:
        rows = {row.vm_uuid: row for row in tx.find(StrayVm, host_uuid=host)}
        found = sorted(strange, key=lambda vm: (vm not in rows, vm))[:_MOST]
        strays = frozenset(vm for vm in found if not _placed(tx, vm, host))
        for vm in rows.keys() - strays:
            self.forget(tx, rows[vm])
        for vm in strays - rows.keys():
            self._enter(tx, host, vm, sizes.get(vm, VmSize()))
        return strays

    def _enter(self, tx: Tx, host: HostId, vm: str, size: VmSize) -> None:
        size = VmSize(cpu_num=min(size.cpu_num, _MOST_CPUS), memory_size=min(size.memory_size, _MOST_MEMORY_BYTES))
        row = StrayVm(
            uuid=self._ids.new(),
            vm_uuid=vm,
            host_uuid=host,
            cpu_num=size.cpu_num,
            memory_size=size.memory_size,
            create_date=tx.now,
        )
        tx.insert(row)
        self._ledger.hold(tx, VmId(row.uuid), host, cpu_num=size.cpu_num, memory_bytes=size.memory_size)


def _placed(tx: Tx, vm: str, host: HostId) -> bool:
    """Whether the VM belongs on that host, or may come to belong there by what goes on."""
    claim, row = tx.get(HostClaim, vm), tx.get(VmInstance, vm)
    if claim is not None and claim.host_uuid == host:
        return True
    if row is None or row.state is VmState.DESTROYED:
        return False
    return host == (row.host_uuid or row.last_host_uuid)
