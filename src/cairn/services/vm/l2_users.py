"""VMs as users of L2 networks."""

from __future__ import annotations

from sqlalchemy import bindparam, func, select

from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Tx
from cairn.services.host.model import Host, HostClaim
from cairn.services.l2.extensions import L2NetworkUsers
from cairn.services.l3.model import L3Network
from cairn.services.vm.model import VmNic

_NIC, _L3, _CLAIM, _HOST = table_of(VmNic), table_of(L3Network), table_of(HostClaim), table_of(Host)
_COUNT = (
    select(func.count(func.distinct(_NIC.c.vm_instance_uuid)))
    .select_from(_L3)
    .join(_NIC, _NIC.c.l3_network_uuid == _L3.c.uuid)
    .join(_CLAIM, _CLAIM.c.vm_uuid == _NIC.c.vm_instance_uuid)
    .join(_HOST, _HOST.c.uuid == _CLAIM.c.host_uuid)
    .where(_L3.c.l2_network_uuid == bindparam("l2"), _HOST.c.cluster_uuid == bindparam("cluster"))
)


class VmsOnL2Network(L2NetworkUsers):
    """Keeps an L2 network attached while VMs with network cards on it have a place in the cluster.

    A VM's place is known by its claim of a host, which is there from the moment that the host is chosen, before the VM starts.
    """

    def why_not_detach(self, tx: Tx, l2_network: str, cluster: str) -> str | None:
        """Count the VMs on hosts of the cluster."""
        ((count,),) = tx.rows(_COUNT, {"l2": l2_network, "cluster": cluster})
        return f"{count} VMs on hosts of the cluster have network cards on it" if count else None
