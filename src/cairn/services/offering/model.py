"""Offerings: named sizes of VMs and of data volumes."""

from __future__ import annotations

from typing import Annotated, ClassVar

from cairn.kernel.resource import EnabledState
from cairn.kernel.store.record import Named, TableMeta, Unit, Visible


class InstanceOffering(Named, frozen=True, kw_only=True):
    """A size of VMs."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="instance_offering",
        entity="InstanceOffering",
        visible=Visible.PUBLIC,
        columns=("name", "uuid", "state", "cpuNum", "memorySize"),
    )

    cpu_num: int
    cpu_speed: Annotated[int, Unit("MHz")] = 0
    memory_size: Annotated[int, Unit("bytes")]
    reserved_memory_size: Annotated[int, Unit("bytes")] = 0
    allocator_strategy: str = "DefaultHostAllocatorStrategy"
    sort_key: int = 0
    state: EnabledState = EnabledState.ENABLED
    type: str = "UserVm"


class DiskOffering(Named, frozen=True, kw_only=True):
    """A size of data volumes."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="disk_offering",
        entity="DiskOffering",
        visible=Visible.PUBLIC,
        columns=("name", "uuid", "state", "diskSize"),
    )

    disk_size: Annotated[int, Unit("bytes")]
    allocator_strategy: str = "DefaultPrimaryStorageAllocationStrategy"
    sort_key: int = 0
    state: EnabledState = EnabledState.ENABLED
    type: str = "zstack"
