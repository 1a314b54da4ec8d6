"""Offerings: named sizes."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from cairn.kernel.store.record import Index, Key, Record, TableMeta, Text, Unit


class OfferingState(StrEnum):
    """Whether an offering may be used."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"


class InstanceOffering(Record, frozen=True, kw_only=True):
    """A size of VMs."""

    meta: ClassVar[TableMeta] = TableMeta(table="instance_offering", entity="InstanceOffering")

    uuid: Annotated[str, Key()]
    name: Annotated[str, Index()]
    description: Annotated[str | None, Text(2048)] = None
    cpu_num: int
    cpu_speed: Annotated[int, Unit("MHz")] = 0
    memory_size: Annotated[int, Unit("bytes")]
    reserved_memory_size: Annotated[int, Unit("bytes")] = 0
    allocator_strategy: str = "DefaultHostAllocatorStrategy"
    sort_key: int = 0
    state: OfferingState = OfferingState.ENABLED
    type: str = "UserVm"
    create_date: datetime
    last_op_date: datetime


class DiskOffering(Record, frozen=True, kw_only=True):
    """A size of data volumes."""

    meta: ClassVar[TableMeta] = TableMeta(table="disk_offering", entity="DiskOffering")

    uuid: Annotated[str, Key()]
    name: Annotated[str, Index()]
    description: Annotated[str | None, Text(2048)] = None
    disk_size: Annotated[int, Unit("bytes")]
    allocator_strategy: str = "DefaultPrimaryStorageAllocationStrategy"
    sort_key: int = 0
    state: OfferingState = OfferingState.ENABLED
    type: str = "zstack"
    create_date: datetime
    last_op_date: datetime
