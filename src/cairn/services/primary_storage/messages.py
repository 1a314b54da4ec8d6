"""What can be asked of primary storage."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from cairn.kernel.api import (
    ApiCommand,
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
from cairn.kernel.bus.message import Command


class StorageStateEvent(StrEnum):
    """What people ask of a storage's state."""

    ENABLE = "enable"
    DISABLE = "disable"


class UpdatePrimaryStorage(ApiCommand[Reference], frozen=True, kw_only=True, tag="primary-storage.update"):
    """Change a primary storage's name or description."""

    route: ClassVar[str | None] = "uuid"
    http: ClassVar[Http] = action("/primary-storage/{uuid}/actions", "updatePrimaryStorage")
    entity: ClassVar[str | None] = "PrimaryStorage"

    uuid: Annotated[Uuid, Refers("PrimaryStorage")]
    name: Name | None = None
    description: Description | None = None


class ChangePrimaryStorageState(ApiCommand[Reference], frozen=True, kw_only=True, tag="primary-storage.change-state"):
    """Enable a primary storage, or disable it (no new volumes)."""

    route: ClassVar[str | None] = "uuid"
    http: ClassVar[Http] = action("/primary-storage/{uuid}/actions", "changePrimaryStorageState")
    entity: ClassVar[str | None] = "PrimaryStorage"

    uuid: Annotated[Uuid, Refers("PrimaryStorage")]
    state_event: StorageStateEvent


class AttachPrimaryStorageToCluster(ApiCommand[Reference], frozen=True, kw_only=True, tag="primary-storage.attach"):
    """Let the hosts of a cluster use a primary storage of the same zone."""

    route: ClassVar[str | None] = "primary_storage_uuid"
    http: ClassVar[Http] = post("/clusters/{clusterUuid}/primary-storage/{primaryStorageUuid}")
    entity: ClassVar[str | None] = "PrimaryStorage"

    cluster_uuid: Annotated[Uuid, Refers("Cluster")]
    primary_storage_uuid: Annotated[Uuid, Refers("PrimaryStorage")]


class DetachPrimaryStorageFromCluster(ApiCommand[Reference], frozen=True, kw_only=True, tag="primary-storage.detach"):
    """Take a primary storage from a cluster; no VM of the cluster may have volumes on it."""

    route: ClassVar[str | None] = "primary_storage_uuid"
    http: ClassVar[Http] = delete("/clusters/{clusterUuid}/primary-storage/{primaryStorageUuid}")
    entity: ClassVar[str | None] = "PrimaryStorage"

    cluster_uuid: Annotated[Uuid, Refers("Cluster")]
    primary_storage_uuid: Annotated[Uuid, Refers("PrimaryStorage")]


class DeletePrimaryStorage(ApiDelete, frozen=True, kw_only=True, tag="primary-storage.delete"):
    """Remove a primary storage that no cluster uses and no volume is on."""

    route: ClassVar[str | None] = "uuid"
    http: ClassVar[Http] = delete("/primary-storage/{uuid}")

    uuid: Uuid


class DropImageCaches(Command[None], frozen=True, kw_only=True, tag="primary-storage.drop-image-caches"):
    """An image is gone: remove its caches that no volume is based on. Safe to repeat."""

    image_uuid: str
