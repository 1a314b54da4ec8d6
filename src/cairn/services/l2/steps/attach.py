"""Attaching an L2 network to a cluster."""

from __future__ import annotations

from msgspec import Struct

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.resource import existing
from cairn.kernel.store.store import Store, Tx
from cairn.services.cluster.model import Cluster
from cairn.services.ids import ClusterId, L2NetworkId
from cairn.services.l2.attachments import attach, detach
from cairn.services.l2.messages import L2ClusterCommand
from cairn.services.l2.model import L2Network, L2NetworkClusterRef
from cairn.services.l2.reconciler import L2Reconciler


class AttachmentInput(Struct, frozen=True, kw_only=True):
    """An L2 network, and the call that names the cluster which it is attached to, or detached from."""

    uuid: str
    asked: L2ClusterCommand

    @property
    def network(self) -> L2NetworkId:
        """The network."""
        return L2NetworkId(self.uuid)

    @property
    def cluster(self) -> ClusterId:
        """The cluster."""
        return ClusterId(self.asked.cluster_uuid)


class RecordAttachment(TransactionStep[AttachmentInput, Nothing]):
    """Check that the network may be attached, and write it down; from here on VMs may count on it."""

    name = "l2.record-attachment"
    title = "attaching the L2 network to the cluster"

    def __init__(self, extensions: Extensions, reconciler: L2Reconciler) -> None:
        self._extensions = extensions
        self._reconciler = reconciler

    def do(self, tx: Tx, given: AttachmentInput) -> Nothing:
        """Refuse a cluster of another zone, and one that has this network or its interface already."""
        network = existing(tx, L2Network, given.uuid, "l2NetworkUuid")
        cluster = existing(
            tx, Cluster, given.cluster, "clusterUuid", lock=True
        )  # networks come to it one after the other
        if cluster.zone_uuid != network.zone_uuid:
            raise CairnError(
                "l2.another-zone",
                f"clusterUuid: the cluster {cluster.name} is in another zone than the L2 network {network.name}. Take a "
                "cluster of its zone, or make an L2 network in the cluster's.",
                kind=ErrorKind.CONFLICT,
                fields={
                    "clusterUuid": f"found a cluster of zone {cluster.zone_uuid}; one of zone {network.zone_uuid} would fit"
                },
            )
        _check_neighbours(tx, network, cluster)
        attach(tx, self._extensions, network.uuid, [cluster.uuid])
        return NOTHING

    def undo(self, tx: Tx, given: AttachmentInput, made: Nothing | None) -> None:
        """Hosts of other clusters are told that those of this one are not their peers."""
        detach(tx, self._extensions, given.network, [given.cluster])
        tx.after_commit(lambda: self._reconciler.refresh_later(given.network))


def _check_neighbours(tx: Tx, network: L2Network, cluster: Cluster) -> None:
    there = [ref.l2_network_uuid for ref in tx.find(L2NetworkClusterRef, cluster_uuid=cluster.uuid)]
    if network.uuid in there:
        raise CairnError(
            "l2.attached",
            f"clusterUuid: the L2 network {network.name} is attached to the cluster {cluster.name} already. "
            "There is nothing to do.",
            kind=ErrorKind.CONFLICT,
        )
    if network.physical_interface is None:
        return
    for other in tx.find(L2Network, uuid=there, type=network.type, physical_interface=network.physical_interface):
        raise CairnError(
            "l2.interface-taken",
            f"clusterUuid: the cluster {cluster.name} has the L2 network {other.name} on {other.physical_interface} "
            f"already, so {network.name} would be the same wire. Use that one, or detach it first.",
            kind=ErrorKind.CONFLICT,
            details={"l2Network": other.uuid},
        )


class RealizeInCluster(ActionStep[AttachmentInput, Nothing]):
    """Make the bridge on every connected host of the cluster."""

    name = "l2.realize-in-cluster"
    title = "making bridges on the hosts"

    def __init__(self, store: Store, reconciler: L2Reconciler) -> None:
        self._store = store
        self._reconciler = reconciler

    async def do(self, given: AttachmentInput) -> Nothing:
        """Hosts that have it already are not called again; those of the network's other clusters get to know new peers."""
        await self._reconciler.attach(given.network, given.cluster)
        return NOTHING

    async def undo(self, given: AttachmentInput, made: Nothing | None) -> None:
        """Remove the bridges that were made."""
        network = await self._store.read(lambda tx: tx.get(L2Network, given.uuid))
        if network is not None:
            await self._reconciler.remove(network, [given.cluster])
