"""Images: files that disks are made from."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from cairn.kernel.resource import EnabledState
from cairn.kernel.store.record import (
    AdminOnly,
    Doc,
    Hidden,
    Index,
    Key,
    Named,
    Nested,
    Owner,
    Record,
    References,
    TableMeta,
    Text,
    Unit,
    Via,
)
from cairn.services.ids import AccountId, BackupStorageId, ImageId
from cairn.services.image.messages import ImageArchitecture, ImageFormat, ImagePlatform, MediaType


class ImageStatus(StrEnum):
    """The status of an image, or of one of its copies."""

    DOWNLOADING = "Downloading"  #: a job fetches it
    READY = "Ready"
    DELETED = "Deleted"  #: cannot be used; its files stay until it is expunged


class Image(Named, frozen=True, kw_only=True):
    """A file that disks are made from, kept on one or more backup storages."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="image",
        remembered=True,
        entity="Image",
        columns=("name", "uuid", "status", "state", "format", "size"),
        nested={"backupStorageRefs": Nested(entity="ImageBackupStorageRef", by="image_uuid", order_by="create_date")},
        via={
            "backupStorage": Via(
                link="image_backup_storage_ref", own="image_uuid", other="backup_storage_uuid", target="BackupStorage"
            )
        },
    )

    uuid: Annotated[ImageId, Key()]
    account_uuid: Annotated[AccountId, Owner(), Index()]
    state: EnabledState = EnabledState.ENABLED
    status: Annotated[ImageStatus, Index()] = ImageStatus.DOWNLOADING
    size: Annotated[int, Unit("bytes"), Doc("virtual: a disk made from it is at least this large")] = 0
    actual_size: Annotated[int, Unit("bytes"), Doc("the size of its file")] = 0
    md5_sum: Annotated[str | None, Doc("not computed: see sha256")] = None
    sha256: Annotated[str, Doc("of its file; hosts check it")] = ""
    url: Annotated[str, Text(2048), Doc("where it was fetched from")]
    media_type: MediaType = MediaType.ROOT_VOLUME_TEMPLATE
    guest_os_type: str | None = None
    type: str = "zstack"
    platform: ImagePlatform = ImagePlatform.LINUX
    architecture: ImageArchitecture = ImageArchitecture.X86_64
    format: ImageFormat = ImageFormat.QCOW2
    system: Annotated[bool, Doc("for the cloud's own VMs")] = False
    virtio: bool = True


class ImageBackupStorageRef(Record, frozen=True, kw_only=True):
    """An image's copy on a backup storage."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="image_backup_storage_ref",
        remembered=True,
        entity="ImageBackupStorageRef",
        owned_by="image_uuid",
        unique_together=(("image_uuid", "backup_storage_uuid"),),
    )

    uuid: Annotated[str, Key()]
    image_uuid: Annotated[ImageId, References("image", join="image", back="backupStorageRefs", on_delete="cascade")]
    backup_storage_uuid: Annotated[
        BackupStorageId, References("backup_storage", join="backupStorage", back="imageRefs")
    ]
    install_path: Annotated[str, AdminOnly(), Text(2048)]
    status: ImageStatus = ImageStatus.DOWNLOADING
    given_up: Annotated[bool, Hidden(), Doc("its file is being removed, or is gone: it cannot be recovered")] = False
    create_date: datetime
    last_op_date: datetime
