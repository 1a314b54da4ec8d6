"""API messages about images."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from cairn.kernel.api import (
    Access,
    ApiChangeState,
    ApiCommand,
    ApiCreate,
    ApiDelete,
    ApiUpdate,
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
from cairn.kernel.error import invalid
from cairn.kernel.limits import CallLimit
from cairn.services.ids import BackupStorageId, ImageId
from cairn.services.image import config

_SCHEMES = ("http", "https", "file")


class ImageSpec(Struct, frozen=True, kw_only=True):
    """An image, as VMs and storage need it."""

    uuid: ImageId
    name: str
    format: str  #: ``qcow2`` or ``raw``
    platform: str  #: ``Linux``, ``Windows``, ...
    architecture: str
    virtio: bool = True  #: whether it has drivers for virtio devices
    guest_os_type: str | None
    size_bytes: int  #: virtual size: a root volume is at least this large
    actual_size_bytes: int  #: the size of its file
    sha256: str
    backup_storage_uuid: BackupStorageId
    url: str  #: hosts fetch it here


class ImageFormat(StrEnum):
    """The formats of images' files."""

    QCOW2 = "qcow2"
    RAW = "raw"


class MediaType(StrEnum):
    """The use that an image is made for."""

    ROOT_VOLUME_TEMPLATE = "RootVolumeTemplate"  #: VMs are made from it
    DATA_VOLUME_TEMPLATE = "DataVolumeTemplate"
    ISO = "ISO"


class ImagePlatform(StrEnum):
    """The kind of system that an image holds; Windows keeps local time in the VM's clock, all others UTC."""

    LINUX = "Linux"
    WINDOWS = "Windows"
    OTHER = "Other"
    PARAVIRTUALIZATION = "Paravirtualization"
    WINDOWS_VIRTIO = "WindowsVirtio"


class ImageArchitecture(StrEnum):
    """The processors that an image runs on."""

    X86_64 = "x86_64"
    AARCH64 = "aarch64"
    MIPS64EL = "mips64el"
    LOONGARCH64 = "loongarch64"


class ApiCreateFromImage(ApiCreate, frozen=True, kw_only=True):
    """An API call that makes something from an image."""

    abstract: ClassVar[bool] = True

    image_uuid: Annotated[Uuid, Refers("Image")]


GuestOsType = Annotated[str, Meta(max_length=255)]
BackupStorageUuids = Annotated[list[Annotated[Uuid, Refers("BackupStorage")]], Meta(min_length=1, max_length=16)]


class AddImage(ApiCreate, frozen=True, kw_only=True, tag="image.add"):
    """Fetch an image onto one or more backup storages, all at once; it is Ready when at least one has it.

    Each server checks the file that it fetched: it must be an image of the given format, without a backing file.

    Errors: ``image.wrong-url``, ``image.wrong-format``, ``image.not-fetched`` (its cause says why),
    ``backup-storage.disabled``, ``backup-storage.disconnected``.
    """

    http: ClassVar[Http] = post("/images")
    entity: ClassVar[str | None] = "Image"
    access: ClassVar[Access] = Access.ACCOUNT
    default_timeout_seconds: ClassVar[float] = 3 * 3600.0
    limit: ClassVar[CallLimit | None] = config.ADD

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

    def check(self) -> None:
        """Refuse a URL that no backup storage fetches, and a format that no host can use."""
        check_url(self.url)
        checked_format(self.format)


class UpdateImage(ApiUpdate, frozen=True, kw_only=True, tag="image.update"):
    """Change the fields that describe an image. Its format cannot change: it is that of its file.

    Errors: ``image.format-fixed``.
    """

    http: ClassVar[Http] = action("/images/{uuid}/actions", "updateImage")
    entity: ClassVar[str | None] = "Image"
    access: ClassVar[Access] = Access.ACCOUNT

    guest_os_type: GuestOsType | None = None
    media_type: MediaType | None = None
    format: ImageFormat | None = None
    system: bool | None = None
    platform: ImagePlatform | None = None
    architecture: ImageArchitecture | None = None
    virtio: bool | None = None


class ChangeImageState(ApiChangeState, frozen=True, kw_only=True, tag="image.change-state"):
    """Enable an image, or disable it: no new VMs are made from it, and those that exist stay as they are."""

    http: ClassVar[Http] = action("/images/{uuid}/actions", "changeImageState")
    entity: ClassVar[str | None] = "Image"
    access: ClassVar[Access] = Access.ACCOUNT


class DeleteImage(ApiDelete, frozen=True, kw_only=True, tag="image.delete"):
    """Delete an image, or its copies on some backup storages. Its files stay until it is expunged.

    No VMs can be made from it any more; those that exist do not need it. With the last copy, the image itself is deleted.

    Errors: ``image.wrong-status`` while it is being fetched.
    """

    route: ClassVar[str | None] = "uuid"
    http: ClassVar[Http] = delete("/images/{uuid}")
    entity: ClassVar[str | None] = "Image"
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

    An image that is gone already is success.

    Errors: ``image.wrong-status`` when it was not deleted before, ``image.not-removed`` (its cause says why).
    """

    route: ClassVar[str | None] = "image_uuid"
    http: ClassVar[Http] = action("/images/{imageUuid}/actions", "expungeImage")
    entity: ClassVar[str | None] = "Image"
    access: ClassVar[Access] = Access.ACCOUNT

    image_uuid: Annotated[Uuid, Refers("Image")]
    backup_storage_uuids: BackupStorageUuids | None = None

    def frees(self) -> bool:
        """It gives the room of its files back."""
        return True


class ImageStatusChanged(Event, frozen=True, kw_only=True, tag="image.status-changed"):
    """An image became Ready or was deleted, recovered or (``status`` None) expunged."""

    image: str
    name: str
    status: str | None


def check_url(url: str) -> None:
    """Refuse a URL that no backup storage fetches (``image.wrong-url``)."""
    fits = "http://…, https://… or file:///… (a file on the backup storage itself) would fit"
    try:
        parts = urlsplit(url)
    except ValueError:
        raise invalid("image.wrong-url", "url", url, fits) from None
    where = parts.path if parts.scheme == "file" else parts.hostname
    if parts.scheme not in _SCHEMES or not where or not url.isprintable() or " " in url:
        raise invalid("image.wrong-url", "url", url, fits)


def checked_format(text: str) -> ImageFormat:
    """The format, whatever its case (``image.wrong-format``)."""
    try:
        return ImageFormat(text.lower())
    except ValueError:
        fits = " or ".join(member.value for member in ImageFormat)
        raise invalid("image.wrong-format", "format", text, f"{fits} would fit", "Convert it with qemu-img.") from None
