"""Detaching an L2 network from clusters, and deleting it."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.kernel.api import ApiDelete, DeleteMode
from cairn.kernel.cascade import Cascade
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.membership import hold_beginnings
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.resource import existing
from cairn.kernel.store.store import Store, Tx
from cairn.services.ids import ClusterId, L2NetworkId
from cairn.services.l2.attachments import clusters_of, detach, restore
from cairn.services.l2.extensions import L2NetworkUsers
from cairn.services.l2.model import L2Network, L2NetworkClusterRef
from cairn.services.l2.reconciler import L2Reconciler
from cairn.services.l2.steps.attach import AttachmentInput


class DetachedOutput(Struct, frozen=True, kw_only=True):
    """The clusters that had the network."""

    cluster_uuids: list[ClusterId]
    refs: list[L2NetworkClusterRef] = []  #: what was erased


class EraseAttachment(TransactionStep[AttachmentInput, DetachedOutput]):
    """Erase the attachment: from here on no VM that needs the network is placed in the cluster."""

    name = "l2.erase-attachment"
    title = "detaching the L2 network from the cluster"

    def __init__(self, extensions: Extensions, reconciler: L2Reconciler) -> None:
        self._extensions = extensions
        self._reconciler = reconciler

    def do(self, tx: Tx, given: AttachmentInput) -> DetachedOutput:
        """Hosts of other clusters are told that those of this one are not their peers any more.

        VMs that are just being placed are waited for: `CheckUnused`, in the same commit, sees them.
        """
        hold_beginnings(tx)
        network = existing(tx, L2Network, given.uuid, "l2NetworkUuid")
        refs = detach(tx, self._extensions, given.network, [given.cluster])
        if not refs:
            raise CairnError(
                "l2.not-attached",
                f"clusterUuid: the L2 network {network.name} is not attached to the cluster {given.cluster}. "
                "There is nothing to do.",
                kind=ErrorKind.CONFLICT,
            )
        tx.after_commit(lambda: self._reconciler.refresh_later(given.network))
        return DetachedOutput(cluster_uuids=[given.cluster], refs=refs)

    def undo(self, tx: Tx, given: AttachmentInput, made: DetachedOutput | None) -> None:
        """Attach the network again, and have its bridges made again."""
        restore(tx, self._extensions, given.network, made.refs if made else [])
        tx.after_commit(lambda: self._reconciler.refresh_later(given.network))


class CheckUnused(TransactionStep[AttachmentInput, Nothing]):
    """Refuse as long as the cluster uses the network.

    The attachment is erased in the same commit, and until that no VM is placed, so one that is not seen here is not placed there.
    """

    name = "l2.check-unused"
    title = "looking for VMs that use the L2 network"
    nothing_to_undo: ClassVar[str | None] = "it only looks"

    def __init__(self, extensions: Extensions) -> None:
        self._extensions = extensions

    def do(self, tx: Tx, given: AttachmentInput) -> Nothing:
        """Ask every service that may use it; the first that does is named."""
        for users in self._extensions.of(L2NetworkUsers):
            why = users.why_not_detach(tx, given.network, given.cluster)
            if why is not None:
                name = existing(tx, L2Network, given.uuid, "l2NetworkUuid").name
                raise CairnError(
                    "l2.in-use",
                    f"clusterUuid: the L2 network {name} cannot be detached: {why}. Stop or migrate them first.",
                    kind=ErrorKind.CONFLICT,
                )
        return NOTHING


class RemoveBridgesInput(Struct, frozen=True, kw_only=True):
    """The network, and the clusters from whose hosts its bridge goes."""

    uuid: str
    cluster_uuids: list[ClusterId]


class RemoveBridges(ActionStep[RemoveBridgesInput, Nothing]):
    """Remove the bridge from the hosts of the clusters that had the network."""

    name = "l2.remove-bridges"
    title = "removing bridges from the hosts"
    nothing_to_undo: ClassVar[str | None] = (
        "when the attachment is given back, the bridges that are missing are made again"
    )

    def __init__(self, store: Store, reconciler: L2Reconciler) -> None:
        self._store = store
        self._reconciler = reconciler

    async def do(self, given: RemoveBridgesInput) -> Nothing:
        """A host that cannot be reached keeps an unused bridge; one whose bridge is gone is success."""
        network = await self._store.read(lambda tx: tx.get(L2Network, given.uuid))
        if network is not None and given.cluster_uuids:
            await self._reconciler.remove(network, given.cluster_uuids)
        return NOTHING


class DeleteInput(Struct, frozen=True, kw_only=True):
    """The network to delete, and the call with its deletion mode."""

    uuid: str
    asked: ApiDelete

    @property
    def network(self) -> L2NetworkId:
        """The network that is deleted."""
        return L2NetworkId(self.uuid)


class EraseAttachments(TransactionStep[DeleteInput, DetachedOutput]):
    """Erase all attachments of the network."""

    name = "l2.erase-attachments"
    title = "detaching the L2 network from all clusters"

    def __init__(self, extensions: Extensions, cascade: Cascade, reconciler: L2Reconciler) -> None:
        self._extensions = extensions
        self._cascade = cascade
        self._reconciler = reconciler

    def do(self, tx: Tx, given: DeleteInput) -> DetachedOutput:
        """Refuse a network with L3 networks on it before any bridge is removed; one that is gone is success."""
        network = tx.get(L2Network, given.uuid)
        if network is None:
            return DetachedOutput(cluster_uuids=[])
        permissive = given.asked.delete_mode is DeleteMode.PERMISSIVE
        self._cascade.refuse(
            tx, L2Network, network.uuid, noun="l2", title="L2 network", name=network.name, can_enforce=permissive
        )
        clusters = clusters_of(tx, network.uuid)
        refs = detach(tx, self._extensions, network.uuid, clusters)
        return DetachedOutput(cluster_uuids=clusters, refs=refs)

    def undo(self, tx: Tx, given: DeleteInput, made: DetachedOutput | None) -> None:
        """Attach the network again, and have its bridges made again."""
        restore(tx, self._extensions, given.network, made.refs if made else [])
        tx.after_commit(lambda: self._reconciler.refresh_later(given.network))
