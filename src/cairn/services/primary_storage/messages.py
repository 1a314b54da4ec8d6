"""API messages about primary storage."""

from __future__ import annotations

from typing import Annotated, ClassVar

from cairn.kernel.api import (
    ApiChangeState,
    ApiCommand,
    ApiDelete,
    ApiUpdate,
    Http,
    Reference,
    Refers,
    Uuid,
    action,
    delete,
    post,
)


class UpdatePrimaryStorage(ApiUpdate, frozen=True, kw_only=True, tag="primary-storage.update"):
    """Change a primary storage's name or description."""

    http: ClassVar[Http] = action("/primary-storage/{uuid}/actions", "updatePrimaryStorage")
    entity: ClassVar[str | None] = "PrimaryStorage"


class ChangePrimaryStorageState(ApiChangeState, frozen=True, kw_only=True, tag="primary-storage.change-state"):
    """Enable a primary storage, or disable it: no new volumes are put on it, and those that exist stay."""

    http: ClassVar[Http] = action("/primary-storage/{uuid}/actions", "changePrimaryStorageState")
    entity: ClassVar[str | None] = "PrimaryStorage"


class AttachPrimaryStorageToCluster(ApiCommand[Reference], frozen=True, kw_only=True, tag="primary-storage.attach"):
    """Let the hosts of a cluster use a primary storage of the same zone.

    Errors: ``primary-storage.wrong-zone``, ``primary-storage.attached-already``.
    """

    route: ClassVar[str | None] = "primary_storage_uuid"
    http: ClassVar[Http] = post("/clusters/{clusterUuid}/primary-storage/{primaryStorageUuid}")
    entity: ClassVar[str | None] = "PrimaryStorage"

    cluster_uuid: Annotated[Uuid, Refers("Cluster")]
    primary_storage_uuid: Annotated[Uuid, Refers("PrimaryStorage")]


class DetachPrimaryStorageFromCluster(ApiCommand[Reference], frozen=True, kw_only=True, tag="primary-storage.detach"):
    """Take a primary storage from a cluster; no VM of the cluster may have volumes on it.

    Errors: ``primary-storage.in-use``.
    """

    route: ClassVar[str | None] = "primary_storage_uuid"
    http: ClassVar[Http] = delete("/clusters/{clusterUuid}/primary-storage/{primaryStorageUuid}")
    entity: ClassVar[str | None] = "PrimaryStorage"

    cluster_uuid: Annotated[Uuid, Refers("Cluster")]
    primary_storage_uuid: Annotated[Uuid, Refers("PrimaryStorage")]

    def frees(self) -> bool:
        """A detachment ends something."""
        return True


class DeletePrimaryStorage(ApiDelete, frozen=True, kw_only=True, tag="primary-storage.delete"):
    """Delete a primary storage that no cluster uses and no volume is on.

    Errors: ``primary-storage.in-use``.
    """

    route: ClassVar[str | None] = "uuid"
    http: ClassVar[Http] = delete("/primary-storage/{uuid}")
    entity: ClassVar[str | None] = "PrimaryStorage"

    uuid: Uuid
