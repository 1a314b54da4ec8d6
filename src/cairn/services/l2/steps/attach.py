"""Attaching an L2 network to a cluster."""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import bindparam, column, select, table

from cairn.kernel.error import CairnError, ErrorKind, not_found
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.store.store import Store, Tx
from cairn.services.l2.model import L2Network, L2NetworkClusterRef
from cairn.services.l2.networks import announce_attachment
from cairn.services.l2.realizer import Realizer

# Of a cluster, only its zone and name matter here, and they are needed inside the transaction.
_CLUSTER = table("cluster", column("uuid"), column("zone_uuid"), column("name"))
_FIND_CLUSTER = select(_CLUSTER.c.zone_uuid, _CLUSTER.c.name).where(_CLUSTER.c.uuid == bindparam("cluster"))


class AttachInput(Struct, frozen=True, kw_only=True):
    """What is attached where."""

    uuid: str
    cluster_uuid: str


class RecordAttachment(TransactionStep[AttachInput, Nothing]):
    """Check that the network may be attached, and write it down; from here on VMs may count on it."""

    name = "l2.record-attachment"
    title = "attaching the L2 network to the cluster"

    def __init__(self, extensions: Extensions, realizer: Realizer) -> None:
        self._extensions = extensions
        self._realizer = realizer

    def do(self, tx: Tx, given: AttachInput) -> Nothing:
        """Check and record."""
        network = tx.get(L2Network, given.uuid)
        if network is None:
            raise not_found("l2-network", "l2NetworkUuid", given.uuid)
        clusters = tx.rows(_FIND_CLUSTER, {"cluster": given.cluster_uuid})
        if not clusters:
            raise not_found("cluster", "clusterUuid", given.cluster_uuid)
        zone, name = clusters[0]
        if zone != network.zone_uuid:
            raise CairnError(
                "l2.another-zone",
                f"clusterUuid: the cluster {name} is in another zone than the L2 network {network.name}. Take a cluster "
                "of its zone, or make an L2 network in the cluster's.",
                kind=ErrorKind.CONFLICT,
                fields={"clusterUuid": f"found a cluster of zone {zone}; one of zone {network.zone_uuid} would fit"},
            )
        _check_neighbours(tx, network, given.cluster_uuid, str(name))
        tx.insert(
            L2NetworkClusterRef(l2_network_uuid=network.uuid, cluster_uuid=given.cluster_uuid, create_date=tx.now)
        )
        announce_attachment(self._extensions, tx, network.uuid)
        return NOTHING

    def undo(self, tx: Tx, given: AttachInput, made: Nothing | None) -> None:
        """It is not attached; hosts of other clusters are told that those of this one are no peers."""
        tx.delete_where(L2NetworkClusterRef, l2_network_uuid=given.uuid, cluster_uuid=given.cluster_uuid)
        announce_attachment(self._extensions, tx, given.uuid)
        tx.after_commit(lambda: self._realizer.refresh_later(given.uuid))


def _check_neighbours(tx: Tx, network: L2Network, cluster: str, cluster_name: str) -> None:
    there = [ref.l2_network_uuid for ref in tx.find(L2NetworkClusterRef, cluster_uuid=cluster)]
    if network.uuid in there:
        raise CairnError(
            "l2.attached",
            f"clusterUuid: the L2 network {network.name} is attached to the cluster {cluster_name} already. "
            "There is nothing to do.",
            kind=ErrorKind.CONFLICT,
        )
    if network.physical_interface is None:
        return
    for other in tx.find(L2Network, uuid=there, type=network.type, physical_interface=network.physical_interface):
        raise CairnError(
            "l2.interface-taken",
            f"clusterUuid: the cluster {cluster_name} has the L2 network {other.name} on {other.physical_interface} "
            f"already, so {network.name} would be the same wire. Use that one, or detach it first.",
            kind=ErrorKind.CONFLICT,
            details={"l2Network": other.uuid},
        )


class RealizeInCluster(ActionStep[AttachInput, Nothing]):
    """Make the bridge on every connected host of the cluster."""

    name = "l2.realize-in-cluster"
    title = "making bridges on the hosts"

    def __init__(self, store: Store, realizer: Realizer) -> None:
        self._store = store
        self._realizer = realizer

    async def do(self, given: AttachInput) -> Nothing:
        """Realize."""
        await self._realizer.attach(given.uuid, given.cluster_uuid)
        return NOTHING

    async def undo(self, given: AttachInput, made: Nothing | None) -> None:
        """Remove the bridges that were made."""
        network = await self._store.read(lambda tx: tx.get(L2Network, given.uuid))
        if network is not None:
            await self._realizer.remove(network, [given.cluster_uuid])
