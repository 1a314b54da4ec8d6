"""Local storage: the space on each host's disk, and the volumes that are there."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from cairn.kernel.store.record import Doc, Hidden, Index, Key, Record, References, TableMeta, Unit, Visible
from cairn.services.ids import HostId, ImageId, PrimaryStorageId, VolumeId

#: of primary storage: names this plugin's driver
TYPE = "LocalStorage"


class SpaceLevel(StrEnum):
    """How full a host's disk is."""

    OK = "Ok"
    NEARLY_FULL = "NearlyFull"
    FULL = "Full"  #: nothing new is put there


class LocalStorageHost(Record, frozen=True, kw_only=True):
    """A host's share of a local primary storage."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="local_storage_host_ref",
        entity="LocalStorageHostRef",
        visible=Visible.ADMIN,
        path="/primary-storage/local-storage/hosts",
        unique_together=(("primary_storage_uuid", "host_uuid"),),
        indexes=(("primary_storage_uuid", "available_capacity", "host_uuid"),),
    )

    uuid: Annotated[str, Key()]
    primary_storage_uuid: Annotated[
        PrimaryStorageId,
        References("primary_storage", join="primaryStorage", back="localStorageHostRefs", on_delete="cascade"),
    ]
    host_uuid: Annotated[HostId, References("host", join="host", back="localStorageHostRefs", on_delete="cascade")]
    file_system: Annotated[str, Doc("storages of a host with the same one share its space, which is counted once")] = ""
    level: Annotated[SpaceLevel, Doc("how full the file system is")] = SpaceLevel.OK
    total_capacity: Annotated[int, Unit("bytes"), Doc("that may be given to volumes and cached images")] = 0
    available_capacity: Annotated[int, Unit("bytes"), Doc("that can still be given to volumes")] = 0
    booked_capacity: Annotated[
        int, Unit("bytes"), Doc("given to volumes and cached images, by all storage on the file system")
    ] = 0
    total_physical_capacity: Annotated[int, Unit("bytes")] = 0
    available_physical_capacity: Annotated[int, Unit("bytes"), Doc("free on the file system, at the last ping")] = 0
    system_used_capacity: Annotated[int, Unit("bytes"), Doc("taken on the file system by what is not the cloud's")] = 0
    #: what of the above is in the sums of the storage by now (`sums`)
    summed_total_capacity: Annotated[int, Hidden()] = 0
    summed_available_capacity: Annotated[int, Hidden()] = 0
    summed_total_physical_capacity: Annotated[int, Hidden()] = 0
    summed_available_physical_capacity: Annotated[int, Hidden()] = 0


class LocalStorageVolume(Record, frozen=True, kw_only=True):
    """Which host's disk a volume is on, and the space it was given. One row per volume, so that releasing is safe to repeat."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="local_storage_resource_ref",
        entity="LocalStorageResourceRef",
        visible=Visible.ADMIN,
        path="/primary-storage/local-storage/resource-refs",
    )

    resource_uuid: Annotated[VolumeId, Key(), Doc("the volume")]
    primary_storage_uuid: Annotated[PrimaryStorageId, Index()]
    host_uuid: Annotated[HostId, References("host", join="host", back="localStorageResourceRefs")]
    size: Annotated[int, Unit("bytes")]
    image_uuid: Annotated[
        ImageId | None,
        Doc("the image whose cache there it is based on; it may be gone. None: not known, it may be any on that disk"),
    ] = None
