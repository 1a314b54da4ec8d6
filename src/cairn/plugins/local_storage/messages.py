"""API messages about local storage."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, ClassVar

from msgspec import Meta

from cairn.kernel.api import ApiCreate, Description, Http, Name, Refers, Uuid, post
from cairn.kernel.bus.message import Command
from cairn.kernel.error import invalid
from cairn.kernel.words import PATH_PATTERN
from cairn.services.image.messages import ImageSpec
from cairn.services.primary_storage.extensions import CachedImage

_SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys", "/usr")


class AddLocalPrimaryStorage(ApiCreate, frozen=True, kw_only=True, tag="local-storage.add"):
    """Use a folder on each host's own disk as primary storage. Afterwards, attach it to clusters.

    Errors: ``local-storage.bad-path``, ``local-storage.path-taken``.
    """

    http: ClassVar[Http] = post("/primary-storage/local-storage")
    entity: ClassVar[str | None] = "PrimaryStorage"

    name: Name
    description: Description | None = None
    zone_uuid: Annotated[Uuid, Refers("Zone")]
    url: Annotated[
        str, Meta(min_length=2, max_length=2048, pattern=PATH_PATTERN)
    ]  #: an absolute path, the same on every host

    def check(self) -> None:
        """Refuse a folder of the operating system."""
        checked_path(self.url)


class CacheImage(Command[CachedImage], frozen=True, kw_only=True, tag="local-storage.cache-image"):
    """Have an image on a host's disk. Safe to repeat; many at once cause one download."""

    route: ClassVar[str | None] = "host"

    host: str
    storage: str
    image: ImageSpec


def checked_path(url: str) -> str:
    """The folder, without a slash at the end; system folders and ``..`` are refused (``local-storage.bad-path``)."""
    path = PurePosixPath(url)
    fits = "an absolute path outside of the system's folders would fit, such as /var/lib/cairn-storage"
    if ".." in path.parts or len(path.parts) < 2 or any(_is_under(path, folder) for folder in _SYSTEM):
        raise invalid("local-storage.bad-path", "url", url, fits)
    return str(path)


def _is_under(path: PurePosixPath, folder: str) -> bool:
    return path == PurePosixPath(folder) or PurePosixPath(folder) in path.parents
