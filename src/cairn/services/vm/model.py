"""VMs and their network cards."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from msgspec import Struct

from cairn.kernel.store.record import (
    AdminOnly,
    Doc,
    Hidden,
    Index,
    Key,
    Named,
    Nested,
    Owner,
    Record,
    References,
    Sealed,
    TableMeta,
    Text,
    Unique,
    Unit,
    Visible,
)
from cairn.services.ids import AccountId, ClusterId, HostId, ImageId, L3NetworkId, VmId, VolumeId, ZoneId


class VmState(StrEnum):
    """The states of a VM; `machine` has the changes between them."""

    CREATED = "Created"
    STARTING = "Starting"
    RUNNING = "Running"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    REBOOTING = "Rebooting"
    DESTROYING = "Destroying"
    DESTROYED = "Destroyed"
    EXPUNGING = "Expunging"
    RECOVERING = "Recovering"
    PAUSING = "Pausing"
    PAUSED = "Paused"  #: on its host, with its memory; its processors are stopped
    RESUMING = "Resuming"
    UNKNOWN = "Unknown"  #: its host cannot be asked
    CRASHED = "Crashed"


class FormerNic(Struct, frozen=True, kw_only=True):
    """A network card of a VM that was destroyed, as it is given back to a VM that is recovered."""

    l3_network_uuid: L3NetworkId
    mac: str
    ip: str | None = None
    driver_type: str = "virtio"


class VmInstance(Named, frozen=True, kw_only=True):
    """A virtual machine, as its owner defined it and as it stands now."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="vm_instance",
        entity="VmInstance",
        noun="vm",
        title="VM",
        columns=("name", "uuid", "state", "vmNics.ip", "cpuNum", "memorySize", "hostUuid", "createDate"),
        nested={
            "vmNics": Nested(entity="VmNic", by="vm_instance_uuid", order_by="device_id"),
            "allVolumes": Nested(entity="Volume", by="vm_instance_uuid", order_by="device_id"),
        },
    )

    uuid: Annotated[VmId, Key()]
    account_uuid: Annotated[AccountId, Owner(), Index()]
    zone_uuid: Annotated[ZoneId | None, References("zone", join="zone", back="vmInstances")] = None
    cluster_uuid: Annotated[ClusterId | None, References("cluster", join="cluster", back="vmInstances")] = None
    host_uuid: Annotated[HostId | None, References("host", join="host", back="vmInstance"), Doc("where it runs")] = None
    last_host_uuid: Annotated[HostId | None, Doc("where it ran last")] = None
    image_uuid: Annotated[
        ImageId | None, References("image", join="image", back="vmInstances", on_delete="set-null")
    ] = None
    instance_offering_uuid: Annotated[
        str | None,
        References("instance_offering", join="instanceOffering", back="vmInstances", on_delete="set-null"),
    ] = None
    root_volume_uuid: Annotated[VolumeId | None, Index()] = None
    default_l3_network_uuid: L3NetworkId | None = None
    platform: str = "Linux"
    architecture: str = "x86_64"
    virtio: Annotated[bool, Doc("whether its disks and network cards are virtio devices")] = True
    guest_os_type: str | None = None
    type: str = "UserVm"
    hypervisor_type: str = "KVM"
    cpu_num: int
    cpu_speed: Annotated[int, Unit("MHz")] = 0
    memory_size: Annotated[int, Unit("bytes")]
    reserved_memory_size: Annotated[int, Unit("bytes")] = 0
    allocator_strategy: str = "DefaultHostAllocatorStrategy"
    state: Annotated[VmState, Index()]
    state_reason: Annotated[str | None, Text(2048), Doc("why it came into this state by itself")] = None
    hostname: Annotated[str, Doc("its name inside its networks")]
    user_data: Annotated[bytes | None, Sealed()] = None
    ssh_keys: Annotated[list[str], Hidden()] = []
    former_nics: Annotated[list[FormerNic], Hidden(), Doc("of a VM that was destroyed")] = []
    create_date: Annotated[datetime, Index()]


class VmNic(Record, frozen=True, kw_only=True):
    """A network card of a VM."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="vm_nic",
        entity="VmNic",
        noun="nic",
        title="network card",
        path="/vm-instances/nics",
        columns=("uuid", "ip", "mac", "vmInstanceUuid", "l3NetworkUuid"),
        owned_by="vm_instance_uuid",
    )

    uuid: Annotated[str, Key()]
    vm_instance_uuid: Annotated[VmId, References("vm_instance", join="vmInstance", back="vmNics", on_delete="cascade")]
    l3_network_uuid: Annotated[L3NetworkId, References("l3_network", join="l3Network", back="vmNics")]
    used_ip_uuid: Annotated[str | None, Hidden()] = None
    ip: Annotated[str | None, Index()] = None
    netmask: str | None = None
    gateway: str | None = None
    mac: Annotated[str, Unique()]
    device_id: int
    internal_name: Annotated[str, AdminOnly(), Doc("of the tap on the host")]
    driver_type: str = "virtio"
    hypervisor_type: str = "KVM"
    state: str = "enable"
    type: str = "VNIC"
    create_date: datetime
    last_op_date: datetime


class StrayVm(Record, frozen=True, kw_only=True):
    """A VM of cairn that a host has and the database does not place there; it holds what it takes of the host."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="stray_vm",
        entity="StrayVm",
        noun="stray-vm",
        title="stray VM",
        path="/stray-vms",
        columns=("uuid", "vmUuid", "hostUuid", "cpuNum", "memorySize", "createDate"),
        visible=Visible.ADMIN,
        unique_together=(("host_uuid", "vm_uuid"),),
        remembered=True,
    )

    uuid: Annotated[str, Key()]
    vm_uuid: Annotated[str, Doc("the uuid that it says it has")]
    host_uuid: Annotated[HostId, References("host", join="host", back="strayVms"), Doc("where it runs")]
    cpu_num: int
    memory_size: Annotated[int, Unit("bytes")]
    create_date: Annotated[datetime, Doc("when it was first seen")]
