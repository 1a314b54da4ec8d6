"""Commands of local primary storage on a host, and of the backup server."""

from __future__ import annotations

from typing import ClassVar, Final

from cairn.agents.protocol import codes
from cairn.agents.protocol.urls import DENIED_NETWORKS
from cairn.agents.protocol.wire import AgentCommand, Done, Result, Space

MOST_VIRTUAL_BYTES: Final = 1 << 42
"""The largest disk that an image may be of. The tables of a larger one would take more than the checks may have."""


class Capacity(Space, frozen=True, kw_only=True):
    """Bytes of the file system under a folder."""


class InitStorage(AgentCommand[Capacity], frozen=True, kw_only=True):
    """Make `path` ready to hold volumes and cached images. Refuses system folders and relative paths."""

    name: ClassVar[str] = "storage.init"
    answer: ClassVar[type[Result]] = Capacity

    path: str


class ImageInfo(Result, frozen=True, kw_only=True):
    """The findings of an image file's inspection."""

    path: str
    format: str  #: ``qcow2`` or ``raw``
    virtual_size_bytes: int
    actual_size_bytes: int
    sha256: str = ""


class CacheImage(AgentCommand[ImageInfo], frozen=True, kw_only=True):
    """Have the image at `path` (below a storage folder), downloading it from the backup server at `url` if need be.

    Downloaded to a temporary name, checked against `sha256`, inspected in a sandbox (format forced, no backing file,
    no external data file, size bounds), only then renamed into place.
    """

    name: ClassVar[str] = "storage.cache-image"
    answer: ClassVar[type[Result]] = ImageInfo

    url: str
    path: str
    format: str
    sha256: str
    max_virtual_size_bytes: int = MOST_VIRTUAL_BYTES


class VolumeInfo(Result, frozen=True, kw_only=True):
    """The file of a volume, and how much of the disk it takes."""

    path: str
    virtual_size_bytes: int
    actual_size_bytes: int


class CreateVolume(AgentCommand[VolumeInfo], frozen=True, kw_only=True):
    """A qcow2 file at `path`: an overlay over the cached image `backing_path`, or empty when that is None.

    A file that is there already with the same backing and size is success; the size is never less than the image's.
    """

    name: ClassVar[str] = "storage.create-volume"
    answer: ClassVar[type[Result]] = VolumeInfo

    path: str
    size_bytes: int
    backing_path: str | None = None
    backing_format: str | None = None


class DeleteFile(AgentCommand[Done], frozen=True, kw_only=True):
    """Remove a volume or a cached image, and its folder once that is empty. Nothing there is success.

    Refused for paths outside of a folder that `InitStorage` has prepared.
    """

    name: ClassVar[str] = "storage.delete-file"
    answer: ClassVar[type[Result]] = Done

    path: str


class GetCapacity(AgentCommand[Capacity], frozen=True, kw_only=True):
    """Ask how full the file system at `path` is, changing nothing."""

    name: ClassVar[str] = "storage.capacity"
    answer: ClassVar[type[Result]] = Capacity

    path: str


class DownloadImage(AgentCommand[ImageInfo], frozen=True, kw_only=True):
    """Backup server: fetch `url` (http, https, file) to `path`, bounded by `max_bytes`, inspected like `CacheImage`.

    `sha256` of the answer is of the stored file. A URL that is not an image's, a redirect to another scheme or to an address
    that is denied, a file outside of the folders that the server's configuration allows: a failure that says so, without
    the URL's secrets, and nothing is left.
    """

    name: ClassVar[str] = "backup.download-image"
    answer: ClassVar[type[Result]] = ImageInfo
    about_caller: ClassVar[frozenset[str]] = frozenset(
        {
            codes.DOWNLOAD_FAILED,
            codes.NOT_AN_IMAGE,
            codes.WRONG_FORMAT,
            codes.IMAGE_TOO_LARGE,
            codes.BACKING_FILE,
        }
    )

    url: str
    path: str
    format: str  #: what the caller says it is: qcow2 or raw
    max_bytes: int = 1 << 40
    iso: bool = False  #: whether it is to be an ISO image (of the format raw)
    denied_networks: tuple[str, ...] = DENIED_NETWORKS  #: not connected to, at any hop
    allowed_networks: tuple[str, ...] = ()  #: connected to even if they are denied
