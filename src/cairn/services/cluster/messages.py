"""API messages about clusters."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from cairn.kernel.api import (
    ApiChangeState,
    ApiCreate,
    ApiDelete,
    ApiUpdate,
    Description,
    Http,
    Name,
    Refers,
    Uuid,
    action,
    delete,
    post,
)


class HypervisorType(StrEnum):
    """The kind of a cluster's hosts."""

    KVM = "KVM"  #: Linux machines with KVM
    SIMULATOR = "Simulator"  #: hosts of paper, for trying and testing


class ClusterType(StrEnum):
    """Types of clusters, of which there is one."""

    ZSTACK = "zstack"


class Architecture(StrEnum):
    """The processors of a cluster's hosts."""

    X86_64 = "x86_64"
    AARCH64 = "aarch64"
    MIPS64EL = "mips64el"
    LOONGARCH64 = "loongarch64"


class CreateCluster(ApiCreate, frozen=True, kw_only=True, tag="cluster.create"):
    """Create a cluster: hosts of one kind that share networks and storage.

    Errors: ``zone.not-found``.
    """

    http: ClassVar[Http] = post("/clusters")
    entity: ClassVar[str | None] = "Cluster"

    zone_uuid: Annotated[Uuid, Refers("Zone")]
    name: Name
    description: Description | None = None
    hypervisor_type: HypervisorType  #: of all its hosts; fixed
    type: ClusterType = ClusterType.ZSTACK
    architecture: Architecture | None = None


class UpdateCluster(ApiUpdate, frozen=True, kw_only=True, tag="cluster.update"):
    """Change a cluster's name or description."""

    http: ClassVar[Http] = action("/clusters/{uuid}/actions", "updateCluster")
    entity: ClassVar[str | None] = "Cluster"


class ChangeClusterState(ApiChangeState, frozen=True, kw_only=True, tag="cluster.change-state"):
    """Enable a cluster, or disable it: no VM is placed on its hosts any more, and those that run stay as they are."""

    http: ClassVar[Http] = action("/clusters/{uuid}/actions", "changeClusterState")
    entity: ClassVar[str | None] = "Cluster"


class DeleteCluster(ApiDelete, frozen=True, kw_only=True, tag="cluster.delete"):
    """Delete a cluster that is empty; with ``deleteMode=Enforcing`` its hosts and the VMs on them go first.

    Errors: ``cluster.in-use`` (with what is in it), ``cascade.not-deleted``.
    """

    http: ClassVar[Http] = delete("/clusters/{uuid}")
    entity: ClassVar[str | None] = "Cluster"

    uuid: Uuid
