"""Attaching a primary storage to a cluster."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.ids import IdSource
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.resource import existing
from cairn.kernel.store.store import Store, Tx
from cairn.services.cluster.model import Cluster
from cairn.services.ids import ClusterId
from cairn.services.primary_storage.extensions import PrimaryStorageDriver
from cairn.services.primary_storage.messages import AttachPrimaryStorageToCluster
from cairn.services.primary_storage.model import PrimaryStorage, PrimaryStorageClusterRef


class AttachInput(Struct, frozen=True, kw_only=True):
    """The storage, and the call that names the cluster."""

    uuid: str
    asked: AttachPrimaryStorageToCluster


class RecordAttachment(TransactionStep[AttachInput, Nothing]):
    """Write down that the storage is attached to the cluster."""

    name = "primary-storage.record-attachment"
    title = "attaching the storage"

    def __init__(self, ids: IdSource) -> None:
        self._ids = ids

    def do(self, tx: Tx, given: AttachInput) -> Nothing:
        """Refuse a storage of another zone, and one that is attached already."""
        storage = existing(tx, PrimaryStorage, given.uuid, "primaryStorageUuid")
        cluster = existing(tx, Cluster, given.asked.cluster_uuid, "clusterUuid")
        if storage.zone_uuid != cluster.zone_uuid:
            raise CairnError(
                "primary-storage.wrong-zone",
                f"The primary storage {storage.name} and the cluster {cluster.name} are in different zones; "
                "only those of one zone can be attached. Choose another.",
                kind=ErrorKind.CONFLICT,
                fields={
                    "primaryStorageUuid": f"found {storage.uuid!r}; one of the zone {cluster.zone_uuid!r} would fit"
                },
            )
        if tx.count(PrimaryStorageClusterRef, primary_storage_uuid=storage.uuid, cluster_uuid=cluster.uuid):
            raise CairnError(
                "primary-storage.attached-already",
                f"The primary storage {storage.name} is attached to the cluster {cluster.name} already.",
                kind=ErrorKind.CONFLICT,
            )
        tx.insert(
            PrimaryStorageClusterRef(uuid=self._ids.new(), primary_storage_uuid=storage.uuid, cluster_uuid=cluster.uuid)
        )
        return NOTHING

    def undo(self, tx: Tx, given: AttachInput, made: Nothing | None) -> None:
        """Forget the attachment; the storage was not attached before, or `do` would have refused."""
        cluster = given.asked.cluster_uuid
        tx.delete_where(PrimaryStorageClusterRef, primary_storage_uuid=given.uuid, cluster_uuid=cluster)


class PrepareHosts(ActionStep[AttachInput, Nothing]):
    """Have the storage's driver prepare the cluster's hosts."""

    name = "primary-storage.prepare-hosts"
    title = "preparing the cluster's hosts"
    nothing_to_undo: ClassVar[str | None] = "an empty folder on a host does no harm"

    def __init__(self, store: Store, extensions: Extensions) -> None:
        self._store = store
        self._extensions = extensions

    async def do(self, given: AttachInput) -> Nothing:
        """Prepare the connected hosts; the others are prepared when they connect. Safe to repeat."""
        storage = await self._store.read(lambda tx: existing(tx, PrimaryStorage, given.uuid, "primaryStorageUuid"))
        await self._extensions.named(PrimaryStorageDriver, storage.type).attached(
            storage.uuid, ClusterId(given.asked.cluster_uuid)
        )
        return NOTHING
