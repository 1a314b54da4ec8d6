"""Attaching a primary storage to a cluster."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.kernel.error import CairnError, ErrorKind, not_found
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.ids import IdSource
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.store.store import Store, Tx
from cairn.services.cluster.model import Cluster
from cairn.services.primary_storage.extensions import PrimaryStorageDriver
from cairn.services.primary_storage.model import PrimaryStorage, PrimaryStorageClusterRef


class AttachParameters(Struct, frozen=True, kw_only=True):
    """What to attach to what."""

    storage_uuid: str
    cluster_uuid: str


class RecordAttachment(TransactionStep[AttachParameters, Nothing]):
    """Write it down."""

    name = "primary-storage.record-attachment"
    title = "attaching the storage"

    def __init__(self, ids: IdSource) -> None:
        self._ids = ids

    def do(self, tx: Tx, given: AttachParameters) -> Nothing:
        """Refuse another zone or a second attachment; else insert."""
        storage = tx.get(PrimaryStorage, given.storage_uuid)
        cluster = tx.get(Cluster, given.cluster_uuid)
        if storage is None:
            raise not_found("primary-storage", "primaryStorageUuid", given.storage_uuid)
        if cluster is None:
            raise not_found("cluster", "clusterUuid", given.cluster_uuid)
        if storage.zone_uuid != cluster.zone_uuid:
            raise CairnError(
                "primary-storage.wrong-zone",
                f"The primary storage {storage.name} and the cluster {cluster.name} are in different zones; "
                "only those of one zone can be attached.",
                kind=ErrorKind.CONFLICT,
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

    def undo(self, tx: Tx, given: AttachParameters, made: Nothing | None) -> None:
        """Strike it out."""
        tx.delete_where(
            PrimaryStorageClusterRef, primary_storage_uuid=given.storage_uuid, cluster_uuid=given.cluster_uuid
        )


class PrepareHosts(ActionStep[AttachParameters, Nothing]):
    """Have the cluster's hosts prepared."""

    name = "primary-storage.prepare-hosts"
    title = "preparing the cluster's hosts"
    nothing_to_undo: ClassVar[str | None] = "an empty folder on a host does no harm"

    def __init__(self, store: Store, extensions: Extensions) -> None:
        self._store = store
        self._extensions = extensions

    async def do(self, given: AttachParameters) -> Nothing:
        """Prepare."""
        storage = await self._store.read(lambda tx: tx.get(PrimaryStorage, given.storage_uuid))
        assert storage is not None
        driver = self._extensions.named(PrimaryStorageDriver, storage.type)
        await driver.attached(given.storage_uuid, given.cluster_uuid)
        return NOTHING
