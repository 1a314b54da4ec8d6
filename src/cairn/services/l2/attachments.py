"""Attachments of L2 networks to clusters, inside transactions; listeners are told of each change."""

from __future__ import annotations

from collections.abc import Sequence

from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.store.store import Tx
from cairn.services.ids import ClusterId, L2NetworkId
from cairn.services.l2.extensions import L2AttachmentChanged
from cairn.services.l2.model import L2NetworkClusterRef


def attach(tx: Tx, extensions: Extensions, l2_network: L2NetworkId, clusters: Sequence[ClusterId]) -> None:
    """Attach a network to clusters. Safe to repeat."""
    for cluster in clusters:
        if not tx.count(L2NetworkClusterRef, l2_network_uuid=l2_network, cluster_uuid=cluster):
            tx.insert(L2NetworkClusterRef(l2_network_uuid=l2_network, cluster_uuid=cluster, create_date=tx.now))
    _tell(tx, extensions, l2_network)


def detach(
    tx: Tx, extensions: Extensions, l2_network: L2NetworkId, clusters: Sequence[ClusterId]
) -> list[L2NetworkClusterRef]:
    """Take a network from clusters; returns what was erased, for `restore`. Safe to repeat."""
    had = tx.find(L2NetworkClusterRef, l2_network_uuid=l2_network, cluster_uuid=clusters, order_by="id")
    tx.delete_where(L2NetworkClusterRef, l2_network_uuid=l2_network, cluster_uuid=clusters)
    _tell(tx, extensions, l2_network)
    return had


def restore(tx: Tx, extensions: Extensions, l2_network: L2NetworkId, refs: Sequence[L2NetworkClusterRef]) -> None:
    """Put attachments back as they were, the same rows: to who looks, nothing has happened. Safe to repeat."""
    for ref in refs:
        if not tx.count(L2NetworkClusterRef, l2_network_uuid=l2_network, cluster_uuid=ref.cluster_uuid):
            tx.insert(ref)
    _tell(tx, extensions, l2_network)


def clusters_of(tx: Tx, l2_network: L2NetworkId) -> list[ClusterId]:
    """The clusters that have a network."""
    return [ref.cluster_uuid for ref in tx.find(L2NetworkClusterRef, l2_network_uuid=l2_network)]


def _tell(tx: Tx, extensions: Extensions, l2_network: L2NetworkId) -> None:
    for listener in extensions.of(L2AttachmentChanged):
        listener.l2_attachment_changed(tx, l2_network)
