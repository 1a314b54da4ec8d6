"""Volumes, the disks of VMs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Final

from cairn.kernel.resource import EnabledState
from cairn.kernel.store.record import AdminOnly, Doc, Index, Key, Named, Owner, References, TableMeta, Text, Unit
from cairn.services.ids import AccountId, ImageId, PrimaryStorageId, VmId, VolumeId

ROOT: Final = "Root"  #: the type of the volume that a VM boots from


class VolumeStatus(StrEnum):
    """The status of a volume's file."""

    CREATING = "Creating"
    READY = "Ready"
    DELETED = "Deleted"


class Volume(Named, frozen=True, kw_only=True):
    """A disk of a VM."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="volume", entity="Volume", columns=("name", "uuid", "state", "status", "type", "size", "vmInstanceUuid")
    )

    uuid: Annotated[VolumeId, Key()]
    account_uuid: Annotated[AccountId, Owner(), Index()]
    primary_storage_uuid: Annotated[
        PrimaryStorageId, References("primary_storage", join="primaryStorage", back="volumes")
    ]
    vm_instance_uuid: Annotated[VmId | None, References("vm_instance", join="vmInstance", back="allVolumes")] = None
    root_image_uuid: Annotated[
        ImageId | None, References("image", join="image", back="volumes", on_delete="set-null")
    ] = None
    install_path: Annotated[str, AdminOnly(), Text(2048)]
    type: Annotated[str, Doc("Root or Data")] = ROOT
    format: str = "qcow2"
    size: Annotated[int, Unit("bytes")]
    actual_size: Annotated[int, Unit("bytes")] = 0
    device_id: int = 0
    state: EnabledState = EnabledState.ENABLED
    status: VolumeStatus = VolumeStatus.CREATING
    is_shareable: bool = False
