"""API messages about images."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar
from urllib.parse import quote, urlsplit

from msgspec import Meta, Struct

from cairn.agents.protocol.urls import shown_url
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
    Secret,
    Uuid,
    action,
    delete,
    post,
)
from cairn.kernel.bus.message import Event
from cairn.kernel.error import CairnError, ErrorKind, invalid
from cairn.kernel.limits import CallLimit
from cairn.kernel.words import LINE_PATTERN
from cairn.services.ids import ImageId
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


GuestOsType = Annotated[str, Meta(max_length=255, pattern=LINE_PATTERN)]
#: A secret: it may have a password in it, or a signature.
Url = Annotated[str, Meta(min_length=1, max_length=4096), Secret()]
BackupStorageUuids = Annotated[list[Annotated[Uuid, Refers("BackupStorage")]], Meta(min_length=1, max_length=16)]


class AddImage(ApiCreate, frozen=True, kw_only=True, tag="image.add"):
    """Fetch an image onto one or more backup storages, all at once; it is Ready when at least one has it.

    Each server checks the file that it fetched: it must be a whole image of the given format, without a backing file. It
    is fetched from no address that the settings ``image.download.*`` deny, at no hop of a redirect. The URL goes out as it is
    given, byte for byte, and is shown and kept without its password and the values of its query. ``file://`` URLs are for
    administrators.

    Errors: ``image.wrong-url``, ``image.wrong-format``, ``image.file-url``, ``image.not-fetched`` (its cause says why),
    ``backup-storage.disabled``, ``backup-storage.disconnected``.
    """

    http: ClassVar[Http] = post("/images")
    entity: ClassVar[str | None] = "Image"
    access: ClassVar[Access] = Access.ACCOUNT
    default_timeout_seconds: ClassVar[float] = 3 * 3600.0
    limit: ClassVar[CallLimit | None] = config.ADD

    name: Name
    description: Description | None = None
    url: Url  #: http, https, or file on the backup storage itself
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
        found = checked_format(self.format)
        if self.media_type is MediaType.ISO and found is not ImageFormat.RAW:
            raise invalid("image.wrong-format", "format", self.format, "raw would fit: an ISO image is one as it is")

    def check_for_account(self) -> None:
        """Refuse files of a backup storage's machine to all but administrators."""
        if urlsplit(self.url).scheme == "file":
            raise CairnError(
                "image.file-url",
                "url: found a file:// URL; those are for administrators, as they name files of the backup storage's machine. "
                "Serve the image by http or https.",
                kind=ErrorKind.FORBIDDEN,
                fields={"url": "found a file:// URL; http://… or https://… would fit"},
            )


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

    An image that is gone already is success. Nothing is waited for: a file on a backup storage or host that cannot be reached
    is removed when that returns (`BackupStorageDebt`), and a host's cache of the image when no disk is based on it any more.

    Errors: ``image.wrong-status`` when it was not deleted before, ``image.in-use``.
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
    """Refuse a URL that no backup storage fetches (``image.wrong-url``): what is wrong with it, without its secrets."""
    wrong = _wrong_character(url) or _wrong_part(url)
    if wrong is not None:
        fits = "http://…, https://… or file:///… (a file on the backup storage itself) would fit"
        raise CairnError("image.wrong-url", f"url: found {wrong}; {fits}.", fields={"url": f"found {wrong}; {fits}"})


def _wrong_character(url: str) -> str | None:
    """The first character that no URL has, named for what is to be written instead."""
    for position, character in enumerate(url):
        if character == " ":
            return f"a blank at position {position + 1}, which is written as %20 in a URL"
        if not character.isascii():
            written = quote(character)
            return f"the character {character!r} at position {position + 1}, which is written as {written} in a URL"
        if not character.isprintable():
            return f"the control character U+{ord(character):04X} at position {position + 1}"
    return None


def _wrong_part(url: str) -> str | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address in brackets that does not end, or is none"
    if parts.scheme not in _SCHEMES:
        return f"the scheme {parts.scheme!r}" if parts.scheme else "no scheme"
    if parts.scheme == "file":
        return None if parts.path else "no path"
    try:
        port = parts.port
    except ValueError:
        return f"a port that is none in {shown_url(url)!r} (ports are numbers from 1 to 65535)"
    if port == 0:
        return "the port 0"
    return None if parts.hostname else "no host"


def checked_format(text: str) -> ImageFormat:
    """The format, whatever its case (``image.wrong-format``)."""
    try:
        return ImageFormat(text.lower())
    except ValueError:
        fits = " or ".join(member.value for member in ImageFormat)
        raise invalid("image.wrong-format", "format", text, f"{fits} would fit", "Convert it with qemu-img.") from None
