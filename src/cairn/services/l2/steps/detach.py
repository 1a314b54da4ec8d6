"""Detaching an L2 network from clusters, and deleting it."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from msgspec import Struct

from cairn.kernel.bus.bus import Bus
from cairn.kernel.error import CairnError, ErrorKind, not_found
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.resource import erase
from cairn.kernel.store.store import Store, Tx
from cairn.kernel.tag import Tags
from cairn.services.host.messages import ListHosts
from cairn.services.l2.model import L2Network, L2NetworkClusterRef
from cairn.services.l2.networks import announce_attachment
from cairn.services.l2.realizer import Realizer
from cairn.services.l3.extensions import L3Networks
from cairn.services.vm.messages import ListVmNetworks

_ASKED_AT_ONCE = 20


class DetachInput(Struct, frozen=True, kw_only=True):
    """What is detached from where."""

    uuid: str
    cluster_uuid: str


class DetachedOutput(Struct, frozen=True, kw_only=True):
    """Which clusters had it."""

    cluster_uuids: list[str]


def _attach_again(tx: Tx, network: str, made: DetachedOutput | None) -> None:
    for cluster in made.cluster_uuids if made else []:
        if not tx.count(L2NetworkClusterRef, l2_network_uuid=network, cluster_uuid=cluster):
            tx.insert(L2NetworkClusterRef(l2_network_uuid=network, cluster_uuid=cluster, create_date=tx.now))


class EraseAttachment(TransactionStep[DetachInput, DetachedOutput]):
    """The cluster has the network no more; from here on no VM that needs it is placed there."""

    name = "l2.erase-attachment"
    title = "detaching the L2 network from the cluster"

    def __init__(self, extensions: Extensions, realizer: Realizer) -> None:
        self._extensions = extensions
        self._realizer = realizer

    def do(self, tx: Tx, given: DetachInput) -> DetachedOutput:
        """Erase."""
        network = tx.get(L2Network, given.uuid)
        if network is None:
            raise not_found("l2-network", "l2NetworkUuid", given.uuid)
        if not tx.delete_where(L2NetworkClusterRef, l2_network_uuid=given.uuid, cluster_uuid=given.cluster_uuid):
            raise CairnError(
                "l2.not-attached",
                f"clusterUuid: the L2 network {network.name} is not attached to the cluster {given.cluster_uuid}. "
                "There is nothing to do.",
                kind=ErrorKind.CONFLICT,
            )
        announce_attachment(self._extensions, tx, given.uuid)
        tx.after_commit(lambda: self._realizer.refresh_later(given.uuid))
        return DetachedOutput(cluster_uuids=[given.cluster_uuid])

    def undo(self, tx: Tx, given: DetachInput, made: DetachedOutput | None) -> None:
        """Attach it again, and see to it that hosts have it."""
        _attach_again(tx, given.uuid, made)
        announce_attachment(self._extensions, tx, given.uuid)
        tx.after_commit(lambda: self._realizer.refresh_later(given.uuid))


class CheckUnusedInput(Struct, frozen=True, kw_only=True):
    """Which network, where."""

    uuid: str
    cluster_uuid: str


class CheckUnused(ActionStep[CheckUnusedInput, Nothing]):
    """Refuse while VMs of the cluster's hosts have network cards on it.

    It comes after the attachment was erased, so a VM that is not seen here can only be one that is not placed there.
    """

    name = "l2.check-unused"
    title = "looking for VMs that use the L2 network"
    nothing_to_undo: ClassVar[str | None] = "it only looks"

    def __init__(self, store: Store, bus: Bus, extensions: Extensions) -> None:
        self._store = store
        self._bus = bus
        self._extensions = extensions

    async def do(self, given: CheckUnusedInput) -> Nothing:
        """Look."""
        l3 = self._extensions.named(L3Networks, "l3")
        networks = {place.uuid for place in await self._store.read(lambda tx: l3.on_l2(tx, given.uuid))}
        hosts = (await self._bus.call(ListHosts(cluster_uuids=[given.cluster_uuid]))).hosts if networks else []
        places = asyncio.Semaphore(_ASKED_AT_ONCE)

        async def users(host: str) -> int:
            async with places:
                vms = (await self._bus.call(ListVmNetworks(host_uuid=host))).vms
            return sum(any(nic.l3_network_uuid in networks for nic in vm.nics) for vm in vms)

        used = sum(await asyncio.gather(*(users(host.uuid) for host in hosts)))
        if used:
            raise CairnError(
                "l2.in-use",
                f"clusterUuid: {used} VMs on hosts of the cluster have network cards on this L2 network. Stop or migrate "
                "them first.",
                kind=ErrorKind.CONFLICT,
                details={"vms": used},
            )
        return NOTHING


class RemoveBridgesInput(Struct, frozen=True, kw_only=True):
    """Which network, where."""

    uuid: str
    cluster_uuids: list[str]


class RemoveBridges(ActionStep[RemoveBridgesInput, Nothing]):
    """Remove the bridge from the hosts of the clusters that had the network."""

    name = "l2.remove-bridges"
    title = "removing bridges from the hosts"
    nothing_to_undo: ClassVar[str | None] = (
        "when the attachment is given back, the bridges that are missing are made again"
    )

    def __init__(self, store: Store, realizer: Realizer) -> None:
        self._store = store
        self._realizer = realizer

    async def do(self, given: RemoveBridgesInput) -> Nothing:
        """Remove."""
        network = await self._store.read(lambda tx: tx.get(L2Network, given.uuid))
        if network is not None and given.cluster_uuids:
            await self._realizer.remove(network, given.cluster_uuids)
        return NOTHING


class EraseInput(Struct, frozen=True, kw_only=True):
    """Which network."""

    uuid: str


class EraseAttachments(TransactionStep[EraseInput, DetachedOutput]):
    """No cluster has the network any more."""

    name = "l2.erase-attachments"
    title = "detaching the L2 network from all clusters"

    def __init__(self, extensions: Extensions, realizer: Realizer) -> None:
        self._extensions = extensions
        self._realizer = realizer

    def do(self, tx: Tx, given: EraseInput) -> DetachedOutput:
        """Refuse while there are L3 networks on it; erase."""
        network = tx.get(L2Network, given.uuid)
        if network is None:
            return DetachedOutput(cluster_uuids=[])
        users = self._extensions.named(L3Networks, "l3").on_l2(tx, given.uuid)
        if users:
            names = ", ".join(user.name for user in users[:10])
            raise CairnError(
                "l2.has-l3-networks",
                f"The L2 network {network.name} cannot be deleted: {len(users)} L3 networks are on it ({names}). "
                "Delete those first, or use deleteMode=Enforcing.",
                kind=ErrorKind.CONFLICT,
                details={"l3Networks": [user.uuid for user in users[:100]]},
            )
        refs = tx.find(L2NetworkClusterRef, l2_network_uuid=given.uuid)
        tx.delete_where(L2NetworkClusterRef, l2_network_uuid=given.uuid)
        return DetachedOutput(cluster_uuids=[ref.cluster_uuid for ref in refs])

    def undo(self, tx: Tx, given: EraseInput, made: DetachedOutput | None) -> None:
        """Attach it again."""
        _attach_again(tx, given.uuid, made)
        tx.after_commit(lambda: self._realizer.refresh_later(given.uuid))


class Erase(TransactionStep[EraseInput, Nothing]):
    """The network is gone."""

    name = "l2.erase"
    title = "deleting the L2 network"
    nothing_to_undo: ClassVar[str | None] = "it is the last step, and exactly once"

    def __init__(self, tags: Tags) -> None:
        self._tags = tags

    def do(self, tx: Tx, given: EraseInput) -> Nothing:
        """Delete the row and its tags."""
        self._tags.forget(tx, given.uuid)
        erase(tx, L2Network, given.uuid)
        return NOTHING
