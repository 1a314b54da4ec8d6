"""The primary storage service, put together."""

from __future__ import annotations

from pathlib import Path

from cairn.kernel.plugin.manifest import Manifest, Parts
from cairn.services.host.extensions import HostFilter
from cairn.services.primary_storage.messages import (
    AttachPrimaryStorageToCluster,
    ChangePrimaryStorageState,
    DeletePrimaryStorage,
    DetachPrimaryStorageFromCluster,
    UpdatePrimaryStorage,
)
from cairn.services.primary_storage.model import ImageCache, PrimaryStorage, PrimaryStorageClusterRef
from cairn.services.primary_storage.service import ATTACH, PrimaryStorageService
from cairn.services.primary_storage.steps.attach import PrepareHosts, RecordAttachment
from cairn.services.primary_storage.steps.claim import CacheImage, ClaimStorage
from cairn.services.primary_storage.usable import UsableStorage


def build(parts: Parts) -> None:
    """Make the service's objects."""
    usable = UsableStorage()
    service = PrimaryStorageService(
        parts.bus, parts.store, parts.jobs, parts.lazy_flows(), parts.tags, parts.extensions, usable
    )
    parts.extensions.provide(HostFilter, service, name="primary_storage")
    parts.cascade.register("PrimaryStorage", lambda uuid: DeletePrimaryStorage(uuid=uuid))
    parts.cascade.register_rows(
        PrimaryStorageClusterRef,
        lambda row: DetachPrimaryStorageFromCluster(
            primary_storage_uuid=row.primary_storage_uuid, cluster_uuid=row.cluster_uuid
        ),
    )
    parts.steps += [
        RecordAttachment(parts.ids),
        PrepareHosts(parts.store, parts.extensions),
        ClaimStorage(parts.extensions, usable),
        CacheImage(parts.extensions),
    ]


MANIFEST = Manifest(
    name="primary_storage",
    doc="Where volumes live.",
    build=build,
    requires=("zone", "cluster", "host"),
    records=(PrimaryStorage, PrimaryStorageClusterRef, ImageCache),
    api=(
        UpdatePrimaryStorage,
        ChangePrimaryStorageState,
        AttachPrimaryStorageToCluster,
        DetachPrimaryStorageFromCluster,
        DeletePrimaryStorage,
    ),
    workflows=(ATTACH,),
    workflow_file=Path(__file__).parent / "workflows.toml",
)
