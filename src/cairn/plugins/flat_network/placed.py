"""Which network cards are where: those of VMs that hold a place on a host to run there, from before they start."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Tx
from cairn.services.host.model import HostClaim
from cairn.services.ids import HostId, L3NetworkId
from cairn.services.vm.model import VmInstance, VmNic

_CLAIM, _NIC, _VM = table_of(HostClaim), table_of(VmNic), table_of(VmInstance)
_HOSTS = (
    select(_CLAIM.c.host_uuid)
    .distinct()
    .select_from(_NIC.join(_CLAIM, _CLAIM.c.vm_uuid == _NIC.c.vm_instance_uuid))
    .where(_NIC.c.l3_network_uuid == bindparam("network"), _CLAIM.c.starts == bindparam("starts"))
)
_NAMES = (
    select(_CLAIM.c.host_uuid, _NIC.c.ip, _VM.c.hostname)
    .select_from(
        _NIC.join(_CLAIM, _CLAIM.c.vm_uuid == _NIC.c.vm_instance_uuid).join(_VM, _VM.c.uuid == _NIC.c.vm_instance_uuid)
    )
    .where(_NIC.c.l3_network_uuid == bindparam("network"), _CLAIM.c.starts == bindparam("starts"))
)


def hosts_of(tx: Tx, l3_network: L3NetworkId) -> list[HostId]:
    """The hosts that have network cards of a network."""
    return [HostId(str(host)) for (host,) in tx.rows(_HOSTS, {"network": l3_network, "starts": True})]


def names_of(tx: Tx, l3_network: L3NetworkId) -> tuple[set[HostId], dict[str, str]]:
    """The hosts that have network cards of a network, and the names of all of them: address -> host name."""
    rows = tx.rows(_NAMES, {"network": l3_network, "starts": True})
    return {HostId(str(host)) for host, _, _ in rows}, {str(ip): str(name) for _, ip, name in rows if ip}
