"""What can be asked of images."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from cairn.kernel.api import (
    Access,
    ApiCommand,
    ApiCreate,
    ApiDelete,
    Description,
    Http,
    Name,
    Reference,
    Refers,
    Uuid,
    action,
    delete,
    post,
)
from cairn.kernel.bus.message import Event


class ImageSpec(Struct, frozen=True, kw_only=True):
    """An image, as VMs and storage need it."""

    uuid: str
    name: str
    format: str  #: ``qcow2`` or ``raw``
    platform: str  #: ``Linux``, ``Windows``, ...
    architecture: str
    guest_os_type: str | None
    size_bytes: int  #: virtual size: a root volume is at least this large
    actual_size_bytes: int  #: what its file takes
    sha256: str
    backup_storage_uuid: str
    url: str  #: where hosts fetch it


class ImageFormat(StrEnum):
    """What an image's file is."""

    QCOW2 = "qcow2"
    RAW = "raw"


class MediaType(StrEnum):
    """What an image is good for."""

    ROOT_VOLUME_TEMPLATE = "RootVolumeTemplate"  #: VMs are made from it
    DATA_VOLUME_TEMPLATE = "DataVolumeTemplate"
    ISO = "ISO"


class ImagePlatform(StrEnum):
    """Which kind of system is in an image; it decides on the devices that a VM gets."""

    LINUX = "Linux"
    WINDOWS = "Windows"
    OTHER = "Other"
    PARAVIRTUALIZATION = "Paravirtualization"
    WINDOWS_VIRTIO = "WindowsVirtio"


class ImageArchitecture(StrEnum):
    """Which processors an image is for."""

    X86_64 = "x86_64"
    AARCH64 = "aarch64"
    MIPS64EL = "mips64el"
    LOONGARCH64 = "loongarch64"


class ImageStateEvent(StrEnum):
    """What people ask of an image's state."""

    ENABLE = "enable"
    DISABLE = "disable"


GuestOsType = Annotated[str, Meta(max_length=255)]
BackupStorageUuids = Annotated[list[Annotated[Uuid, Refers("BackupStorage")]], Meta(min_length=1, max_length=16)]


class AddImage(ApiCreate, frozen=True, kw_only=True, tag="image.add"):
    """Fetch an image onto one or more backup storages, all at a time; it is Ready when at least one has it.

    Each server looks at what it fetched: it must be an image of the format that is named, without a backing file.

    Errors: ``image.wrong-url``, ``image.wrong-format``, ``image.not-fetched`` (its cause says why),
    ``backup-storage.disabled``, ``backup-storage.disconnected``.
    """

    route: ClassVar[str | None] = "resource_uuid"
    http: ClassVar[Http] = post("/images")
    entity: ClassVar[str | None] = "Image"
    access: ClassVar[Access] = Access.ACCOUNT
    default_timeout_seconds: ClassVar[float] = 3 * 3600.0

    name: Name
    description: Description | None = None
    url: Annotated[str, Meta(min_length=1, max_length=1024)]  #: http, https, or file on the backup storage itself
    media_type: MediaType = MediaType.ROOT_VOLUME_TEMPLATE
    guest_os_type: GuestOsType | None = None
    architecture: ImageArchitecture = ImageArchitecture.X86_64
    system: bool = False  #: for the cloud's own VMs
    format: Annotated[str, Meta(max_length=32)] = ImageFormat.QCOW2.value  #: qcow2 or raw
    platform: ImagePlatform = ImagePlatform.LINUX
    backup_storage_uuids: BackupStorageUuids
    virtio: bool = True


class _ImageAction(ApiCommand[Reference], frozen=True, kw_only=True):
    abstract: ClassVar[bool] = True
    route: ClassVar[str | None] = "uuid"
    entity: ClassVar[str | None] = "Image"
    access: ClassVar[Access] = Access.ACCOUNT

    uuid: Annotated[Uuid, Refers("Image")]


class UpdateImage(_ImageAction, frozen=True, kw_only=True, tag="image.update"):
    """Change what is said of an image. Its format cannot change: it is what its file is.

    Errors: ``image.format-fixed``.
    """

    http: ClassVar[Http] = action("/images/{uuid}/actions", "updateImage")

    name: Name | None = None
    description: Description | None = None
    guest_os_type: GuestOsType | None = None
    media_type: MediaType | None = None
    format: ImageFormat | None = None
    system: bool | None = None
    platform: ImagePlatform | None = None
    architecture: ImageArchitecture | None = None
    virtio: bool | None = None


class ChangeImageState(_ImageAction, frozen=True, kw_only=True, tag="image.change-state"):
    """Enable an image, or disable it (no new VMs)."""

    http: ClassVar[Http] = action("/images/{uuid}/actions", "changeImageState")

    state_event: ImageStateEvent


class DeleteImage(ApiDelete, frozen=True, kw_only=True, tag="image.delete"):
    """Delete an image, or its copies on some backup storages. Its files stay until it is expunged.

    No VMs can be made from it any more; those that there are need it no longer. The last copy's deletion is the image's.

    Errors: ``image.wrong-status`` while it is being fetched.
    """

    route: ClassVar[str | None] = "uuid"
    http: ClassVar[Http] = delete("/images/{uuid}")
    access: ClassVar[Access] = Access.ACCOUNT

    uuid: Annotated[Uuid, Refers("Image")]
    backup_storage_uuids: BackupStorageUuids | None = None


class RecoverImage(ApiCommand[Reference], frozen=True, kw_only=True, tag="image.recover"):
    """Bring a deleted image, or its deleted copies on some backup storages, back.

    Errors: ``image.no-copy`` when its files are gone.
    """

    route: ClassVar[str | None] = "image_uuid"
    http: ClassVar[Http] = action("/images/{imageUuid}/actions", "recoverImage")
    entity: ClassVar[str | None] = "Image"
    access: ClassVar[Access] = Access.ACCOUNT

    image_uuid: Annotated[Uuid, Refers("Image")]
    backup_storage_uuids: BackupStorageUuids | None = None


class ExpungeImage(ApiCommand[None], frozen=True, kw_only=True, tag="image.expunge"):
    """Remove the files of a deleted image, or of its deleted copies on some backup storages, for good.

    One that is gone already is success.

    Errors: ``image.wrong-status`` when it was not deleted before, ``image.not-removed`` (its cause says why).
    """

    route: ClassVar[str | None] = "image_uuid"
    http: ClassVar[Http] = action("/images/{imageUuid}/actions", "expungeImage")
    access: ClassVar[Access] = Access.ACCOUNT

    image_uuid: Annotated[Uuid, Refers("Image")]
    backup_storage_uuids: BackupStorageUuids | None = None


class ImageStatusChanged(Event, frozen=True, kw_only=True, tag="image.status-changed"):
    """An image became Ready or was deleted, recovered or (``status`` None) expunged."""

    image: str
    name: str
    status: str | None
