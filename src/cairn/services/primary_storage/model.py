"""Primary storage: the storage that volumes are on."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from cairn.kernel.resource import EnabledState
from cairn.kernel.store.record import (
    AdminOnly,
    Doc,
    Index,
    Key,
    Named,
    Record,
    References,
    TableMeta,
    Text,
    Unit,
    Uuids,
    Via,
    Visible,
)
from cairn.services.cluster.model import Cluster
from cairn.services.ids import ClusterId, HostId, ImageId, PrimaryStorageId, ZoneId
from cairn.services.zone.model import Zone


class PrimaryStorageStatus(StrEnum):
    """The state of the way from hosts to a primary storage."""

    CONNECTED = "Connected"
    DISCONNECTED = "Disconnected"


class PrimaryStorage(Named, frozen=True, kw_only=True):
    """Storage for volumes: the local disks of hosts, or storage that hosts share."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="primary_storage",
        remembered=True,
        entity="PrimaryStorage",
        visible=Visible.PUBLIC,
        path="/primary-storage",
        columns=("name", "uuid", "status", "type", "url", "availableCapacity", "totalCapacity"),
        nested={
            "attachedClusterUuids": Uuids(
                link="primary_storage_cluster_ref", own="primary_storage_uuid", other="cluster_uuid"
            )
        },
        via={
            "cluster": Via(
                link="primary_storage_cluster_ref", own="primary_storage_uuid", other="cluster_uuid", target="Cluster"
            )
        },
    )

    uuid: Annotated[PrimaryStorageId, Key()]
    zone_uuid: Annotated[ZoneId, References(Zone, join="zone", back="primaryStorage")]
    url: Annotated[str, AdminOnly(), Text(2048), Doc("of local storage: a folder on each host")]
    type: Annotated[str, Doc("LocalStorage")]
    state: EnabledState = EnabledState.ENABLED
    status: PrimaryStorageStatus = PrimaryStorageStatus.CONNECTED
    mount_path: Annotated[str, AdminOnly(), Text(2048)]
    total_capacity: Annotated[int, AdminOnly(), Unit("bytes")] = 0
    available_capacity: Annotated[int, AdminOnly(), Unit("bytes"), Doc("not yet given to volumes")] = 0
    total_physical_capacity: Annotated[int, AdminOnly(), Unit("bytes")] = 0
    available_physical_capacity: Annotated[int, AdminOnly(), Unit("bytes")] = 0


class PrimaryStorageClusterRef(Record, frozen=True, kw_only=True):
    """A primary storage that the hosts of a cluster can use."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="primary_storage_cluster_ref",
        unique_together=(("primary_storage_uuid", "cluster_uuid"),),
        remembered=True,
    )

    uuid: Annotated[str, Key()]
    primary_storage_uuid: Annotated[PrimaryStorageId, References("primary_storage", on_delete="cascade")]
    cluster_uuid: Annotated[ClusterId, References(Cluster)]


class ImageCache(Record, frozen=True, kw_only=True):
    """An image that volumes on a primary storage are based on."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="image_cache",
        entity="ImageCache",
        visible=Visible.ADMIN,
        path="/primary-storage/image-caches",
        unique_together=(("primary_storage_uuid", "host_uuid", "image_uuid"),),
        remembered=frozenset({"given_up"}),  # and that it is gone; one that comes is looked for
    )

    uuid: Annotated[str, Key()]
    primary_storage_uuid: Annotated[
        PrimaryStorageId, References("primary_storage", join="primaryStorage", back="imageCaches", on_delete="cascade")
    ]
    host_uuid: Annotated[HostId | None, Index(), Doc("of local storage: whose disk; None: shared")] = None
    image_uuid: Annotated[ImageId, Index(), Doc("the image may be gone while volumes still need its cache")]
    install_path: Annotated[str, Text(2048)]
    format: str
    size: Annotated[int, Unit("bytes"), Doc("virtual")]
    actual_size: Annotated[int, Unit("bytes"), Doc("0: the file may be incomplete, and is fetched before it is used")]
    given_up: Annotated[
        bool, Doc("the image is gone; the file goes when no volume is based on it and the host can be reached")
    ] = False
    create_date: datetime
