"""What can be asked of local storage."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from cairn.kernel.api import ApiCreate, Description, Http, Name, Refers, Uuid, post


class AddLocalPrimaryStorage(ApiCreate, frozen=True, kw_only=True, tag="local-storage.add"):
    """Use a folder on each host's own disk as primary storage. Attach it to clusters then."""

    route: ClassVar[str | None] = "resource_uuid"
    http: ClassVar[Http] = post("/primary-storage/local-storage")
    entity: ClassVar[str | None] = "PrimaryStorage"

    name: Name
    description: Description | None = None
    zone_uuid: Annotated[Uuid, Refers("Zone")]
    url: Annotated[str, Meta(min_length=2, max_length=2048, pattern="^/")]  #: an absolute path, the same on every host
