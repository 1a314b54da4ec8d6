"""The primary storage service, put together."""

from __future__ import annotations

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.host.extensions import HostFilter
from cairn.services.primary_storage.messages import (
    DeletePrimaryStorage,
    DetachPrimaryStorageFromCluster,
)
from cairn.services.primary_storage.model import PrimaryStorageClusterRef
from cairn.services.primary_storage.service import PrimaryStorageService
from cairn.services.primary_storage.steps.attach import PrepareHosts, RecordAttachment
from cairn.services.primary_storage.steps.claim import CacheImage, ClaimStorage
from cairn.services.primary_storage.usable import UsableStorage


def build(node: NodeContext) -> None:
    """Make the service's objects."""
    usable = UsableStorage()
    service = PrimaryStorageService(
        node.bus, node.store, node.jobs, node.lazy_flows(), node.tags, node.extensions, usable
    )
    node.extensions.provide(HostFilter, service, name="primary_storage")
    node.cascade.register("PrimaryStorage", lambda uuid: DeletePrimaryStorage(uuid=uuid))
    node.cascade.register_rows(
        PrimaryStorageClusterRef,
        lambda row: DetachPrimaryStorageFromCluster(
            primary_storage_uuid=row.primary_storage_uuid, cluster_uuid=row.cluster_uuid
        ),
    )
    node.steps += [
        RecordAttachment(node.ids),
        PrepareHosts(node.store, node.extensions),
        ClaimStorage(node.extensions, usable),
        CacheImage(node.extensions),
    ]


MANIFEST = Manifest(
    package="cairn.services.primary_storage",
    doc="Where volumes live.",
    build=build,
    requires=("zone", "cluster", "host"),
)
