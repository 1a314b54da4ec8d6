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
from cairn.kernel.bus.message import Event


class PrimaryStorageSpaceChanged(Event, frozen=True, kw_only=True):
    """The part that all events about how full a primary storage is have in common."""

    abstract: ClassVar[bool] = True

    primary_storage: str
    host: str | None = None  #: of local storage: whose disk
    total_bytes: int
    available_bytes: int


class PrimaryStorageNearlyFull(
    PrimaryStorageSpaceChanged, frozen=True, kw_only=True, tag="primary-storage.nearly-full"
):
    """A disk of a primary storage is nearly full. Enlarge it, or expunge what is not needed."""


class PrimaryStorageFull(PrimaryStorageSpaceChanged, frozen=True, kw_only=True, tag="primary-storage.full"):
    """A disk of a primary storage is full but for its reserve: nothing new is put there, and VMs may have to pause."""


class PrimaryStorageHasRoom(PrimaryStorageSpaceChanged, frozen=True, kw_only=True, tag="primary-storage.has-room"):
    """A disk of a primary storage that was nearly full, or full, has room again."""


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

    With ``deleteMode=Enforcing`` it is taken from its clusters, and all that is on it goes first: the VMs that have volumes
    there, destroyed and expunged whether their hosts can be reached or not. What is left on hosts that cannot be reached is a
    debt (`HostDebt`), which is collected when they return.

    Errors: ``primary-storage.in-use``, ``cascade.not-deleted`` (with what did not go, and why).
    """

    http: ClassVar[Http] = delete("/primary-storage/{uuid}")
    entity: ClassVar[str | None] = "PrimaryStorage"

    uuid: Uuid
