"""The filters of VMs' taps: put right whenever a host connects.

A VM's start sets them with the VM (`StartVm`). They are told again at each connect for all VMs that hold the host, because an
agent of an earlier version set none, and because the machine's rules may have been flushed meanwhile. Telling only adds: what
guests are not on the host any more have had their filters removed with their taps.
"""

from __future__ import annotations

import structlog
from sqlalchemy import bindparam, select

from cairn.agents.protocol.host import HostFacts
from cairn.agents.protocol.vm import FilterTaps, Tap
from cairn.kernel.error import CairnError
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Store, Tx
from cairn.services.host.extensions import HostConnected
from cairn.services.host.model import HostClaim
from cairn.services.host.provided import HostAgents
from cairn.services.ids import HostId
from cairn.services.vm.model import VmNic

#: Of these a command is far below what an agent takes at a time.
_TAPS_AT_A_TIME = 1000
_NIC, _CLAIM = table_of(VmNic), table_of(HostClaim)
_OF_HOST = (
    select(_NIC.c.vm_instance_uuid, _NIC.c.internal_name, _NIC.c.mac, _NIC.c.ip)
    .join(_CLAIM, _CLAIM.c.vm_uuid == _NIC.c.vm_instance_uuid)
    .where(_CLAIM.c.host_uuid == bindparam("host"))
)
_log = structlog.get_logger("cairn.vm.filters")


class GuestFilters(HostConnected):
    """Tells hosts that connect what their guests may send."""

    def __init__(self, store: Store, agents: HostAgents) -> None:
        self._store = store
        self._agents = agents

    async def host_connecting(self, host: HostId, facts: HostFacts) -> None:
        """Tell the host of its guests' taps; one that cannot set filters is connected all the same, and it is logged."""
        taps = await self._store.read(lambda tx: _taps(tx, host))
        try:
            for start in range(0, len(taps), _TAPS_AT_A_TIME):
                await self._agents.call(host, FilterTaps(taps=taps[start : start + _TAPS_AT_A_TIME]))
        except CairnError as error:
            _log.warning("vm.filters-not-set", host=host, error=str(error))


def _taps(tx: Tx, host: HostId) -> list[Tap]:
    return [
        Tap(vm=str(vm), device=str(device), mac=str(mac), addresses=[str(ip)] if ip else [])
        for vm, device, mac, ip in tx.rows(_OF_HOST, {"host": host})
    ]
