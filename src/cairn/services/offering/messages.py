"""API messages about offerings."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from msgspec import Meta

from cairn.kernel.api import (
    ApiChangeState,
    ApiCreate,
    ApiDelete,
    ApiUpdate,
    Description,
    Http,
    Name,
    Uuid,
    action,
    delete,
    post,
)
from cairn.kernel.error import invalid
from cairn.kernel.words import LINE_PATTERN

Strategy = Annotated[str, Meta(min_length=1, max_length=255, pattern=LINE_PATTERN)]
Bytes = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


class InstanceOfferingType(StrEnum):
    """The kind of VMs that an instance offering is for."""

    USER_VM = "UserVm"


class DiskOfferingType(StrEnum):
    """Types of disk offerings, of which there is one."""

    ZSTACK = "zstack"


class CreateInstanceOffering(ApiCreate, frozen=True, kw_only=True, tag="instance-offering.create"):
    """Create a size of VMs.

    Errors: ``instance-offering.too-much-reserved``.
    """

    http: ClassVar[Http] = post("/instance-offerings")
    entity: ClassVar[str | None] = "InstanceOffering"

    name: Name
    description: Description | None = None
    cpu_num: Annotated[int, Meta(ge=1, le=1024)]  #: virtual processors
    memory_size: Annotated[int, Meta(ge=16 << 20, le=1 << 44)]  #: bytes
    reserved_memory_size: Bytes = 0  #: of that, bytes that the VM always has; at most `memorySize`
    allocator_strategy: Strategy = "DefaultHostAllocatorStrategy"
    sort_key: int = 0  #: where lists show it, smaller ones first
    type: InstanceOfferingType = InstanceOfferingType.USER_VM

    def check(self) -> None:
        """Refuse to reserve more memory than the VM has."""
        if self.reserved_memory_size > self.memory_size:
            raise invalid(
                "instance-offering.too-much-reserved",
                "reservedMemorySize",
                self.reserved_memory_size,
                f"0 to memorySize, which is {self.memory_size}, would fit",
            )


class UpdateInstanceOffering(ApiUpdate, frozen=True, kw_only=True, tag="instance-offering.update"):
    """Change an instance offering's name or description. VMs that were made with it stay as they are."""

    http: ClassVar[Http] = action("/instance-offerings/{uuid}/actions", "updateInstanceOffering")
    entity: ClassVar[str | None] = "InstanceOffering"

    allocator_strategy: Strategy | None = None


class ChangeInstanceOfferingState(ApiChangeState, frozen=True, kw_only=True, tag="instance-offering.change-state"):
    """Enable an instance offering, or disable it: no VM is made with it any more."""

    http: ClassVar[Http] = action("/instance-offerings/{uuid}/actions", "changeInstanceOfferingState")
    entity: ClassVar[str | None] = "InstanceOffering"


class DeleteInstanceOffering(ApiDelete, frozen=True, kw_only=True, tag="instance-offering.delete"):
    """Delete an instance offering. VMs that were made with it run on, and refer to none."""

    http: ClassVar[Http] = delete("/instance-offerings/{uuid}")
    entity: ClassVar[str | None] = "InstanceOffering"

    uuid: Uuid


class CreateDiskOffering(ApiCreate, frozen=True, kw_only=True, tag="disk-offering.create"):
    """Create a size of data volumes."""

    http: ClassVar[Http] = post("/disk-offerings")
    entity: ClassVar[str | None] = "DiskOffering"

    name: Name
    description: Description | None = None
    disk_size: Annotated[int, Meta(ge=1, le=(1 << 63) - 1)]  #: bytes
    sort_key: int = 0  #: where lists show it, smaller ones first
    allocation_strategy: Strategy = "DefaultPrimaryStorageAllocationStrategy"
    type: DiskOfferingType = DiskOfferingType.ZSTACK


class UpdateDiskOffering(ApiUpdate, frozen=True, kw_only=True, tag="disk-offering.update"):
    """Change a disk offering's name or description."""

    http: ClassVar[Http] = action("/disk-offerings/{uuid}/actions", "updateDiskOffering")
    entity: ClassVar[str | None] = "DiskOffering"


class ChangeDiskOfferingState(ApiChangeState, frozen=True, kw_only=True, tag="disk-offering.change-state"):
    """Enable a disk offering, or disable it: no volume is made with it any more."""

    http: ClassVar[Http] = action("/disk-offerings/{uuid}/actions", "changeDiskOfferingState")
    entity: ClassVar[str | None] = "DiskOffering"


class DeleteDiskOffering(ApiDelete, frozen=True, kw_only=True, tag="disk-offering.delete"):
    """Delete a disk offering. Volumes that were made with it stay, and refer to none."""

    http: ClassVar[Http] = delete("/disk-offerings/{uuid}")
    entity: ClassVar[str | None] = "DiskOffering"

    uuid: Uuid
