"""What can be asked of VMs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from cairn.kernel.api import (
    Access,
    ApiCommand,
    ApiCreate,
    ApiDelete,
    ApiQuery,
    Description,
    Http,
    Name,
    Reference,
    Refers,
    Uuid,
    action,
    delete,
    get,
    post,
)
from cairn.kernel.bus.message import Command, Event, Query
from cairn.services.vm.extensions import NicSpec


class CreationStrategy(StrEnum):
    """What to do with a VM once its disk is there."""

    INSTANT_START = "InstantStart"
    CREATE_STOPPED = "CreateStopped"


class StopType(StrEnum):
    """How to stop a VM."""

    GRACE = "grace"  #: press the power button, and pull the plug when that has not helped within a minute
    COLD = "cold"  #: pull the plug at once


class CreateVmInstance(ApiCreate, frozen=True, kw_only=True, tag="vm.create"):
    """Create a VM from an image and start it.

    Give either `instanceOfferingUuid`, or `cpuNum` and `memorySize`. Where it runs is chosen among connected hosts with
    enough memory and processors that reach all its networks; zone, cluster or host narrow that down.

    Errors: ``host.none-fits`` (with each host's reason), ``l3.no-free-address``, ``image.not-ready``, ``vm.no-size``.
    """

    route: ClassVar[str | None] = "resource_uuid"
    http: ClassVar[Http] = post("/vm-instances")
    entity: ClassVar[str | None] = "VmInstance"
    access: ClassVar[Access] = Access.ACCOUNT

    name: Name
    description: Description | None = None
    image_uuid: Annotated[Uuid, Refers("Image")]
    l3_network_uuids: Annotated[
        list[Annotated[Uuid, Refers("L3Network")]], Meta(min_length=1, max_length=16)
    ]  #: a network card in each, in this order
    default_l3_network_uuid: Annotated[Uuid, Refers("L3Network")] | None = None  #: whose gateway is the default route
    instance_offering_uuid: Annotated[Uuid, Refers("InstanceOffering")] | None = None
    cpu_num: Annotated[int, Meta(ge=1, le=1024)] | None = None  #: virtual processors
    memory_size: Annotated[int, Meta(ge=16 << 20, le=1 << 44)] | None = None  #: bytes
    root_disk_size: Annotated[int, Meta(ge=1 << 20, le=1 << 50)] | None = None  #: bytes; by default the image's size
    zone_uuid: Annotated[Uuid, Refers("Zone")] | None = None
    cluster_uuid: Annotated[Uuid, Refers("Cluster")] | None = None
    host_uuid: Annotated[Uuid, Refers("Host")] | None = None
    primary_storage_uuid_for_root_volume: Annotated[Uuid, Refers("PrimaryStorage")] | None = None
    strategy: CreationStrategy = CreationStrategy.INSTANT_START


class _VmAction(ApiCommand[Reference], frozen=True, kw_only=True):
    abstract: ClassVar[bool] = True
    route: ClassVar[str | None] = "uuid"
    entity: ClassVar[str | None] = "VmInstance"
    access: ClassVar[Access] = Access.ACCOUNT

    uuid: Annotated[Uuid, Refers("VmInstance")]


class StartVmInstance(_VmAction, frozen=True, kw_only=True, tag="vm.start"):
    """Start a stopped VM, on the host that has its disk. One that runs already is success."""

    http: ClassVar[Http] = action("/vm-instances/{uuid}/actions", "startVmInstance")

    cluster_uuid: Annotated[Uuid, Refers("Cluster")] | None = None
    host_uuid: Annotated[Uuid, Refers("Host")] | None = None


class StopVmInstance(_VmAction, frozen=True, kw_only=True, tag="vm.stop"):
    """Stop a VM. One that is stopped already is success."""

    http: ClassVar[Http] = action("/vm-instances/{uuid}/actions", "stopVmInstance")

    type: StopType = StopType.GRACE


class RebootVmInstance(_VmAction, frozen=True, kw_only=True, tag="vm.reboot"):
    """Stop a VM and start it again where it is."""

    http: ClassVar[Http] = action("/vm-instances/{uuid}/actions", "rebootVmInstance")


class UpdateVmInstance(_VmAction, frozen=True, kw_only=True, tag="vm.update"):
    """Change a VM's name or description, or (while it is stopped) its size."""

    http: ClassVar[Http] = action("/vm-instances/{uuid}/actions", "updateVmInstance")

    name: Name | None = None
    description: Description | None = None
    cpu_num: Annotated[int, Meta(ge=1, le=1024)] | None = None
    memory_size: Annotated[int, Meta(ge=16 << 20, le=1 << 44)] | None = None  #: bytes


class DestroyVmInstance(ApiDelete, frozen=True, kw_only=True, tag="vm.destroy"):
    """Take a VM off its host and give its addresses back; its disk stays until it is expunged."""

    route: ClassVar[str | None] = "uuid"
    http: ClassVar[Http] = delete("/vm-instances/{uuid}")
    access: ClassVar[Access] = Access.ACCOUNT

    uuid: Uuid


class ExpungeVmInstance(ApiCommand[None], frozen=True, kw_only=True, tag="vm.expunge"):
    """Remove a destroyed VM for good, with its disk."""

    route: ClassVar[str | None] = "uuid"
    http: ClassVar[Http] = action("/vm-instances/{uuid}/actions", "expungeVmInstance")
    access: ClassVar[Access] = Access.ACCOUNT

    uuid: Annotated[Uuid, Refers("VmInstance")]


class ConsoleAddress(Struct, frozen=True, kw_only=True, rename="camel"):
    """Where a VM's screen is (on its host's loopback), and what it wrote to its serial console."""

    host_ip: str
    port: int
    protocol: str
    console_log: str  #: the last 64 KiB
    success: bool = True


class GetVmConsoleAddress(ApiQuery[ConsoleAddress], frozen=True, kw_only=True, tag="vm.console"):
    """A running VM's console."""

    route: ClassVar[str | None] = "uuid"
    http: ClassVar[Http] = get("/vm-instances/{uuid}/console-addresses")

    uuid: Annotated[Uuid, Refers("VmInstance")]


class VmNetworks(Struct, frozen=True, kw_only=True):
    """A VM's network cards and what its networks tell it."""

    vm_uuid: str
    host_uuid: str
    hostname: str
    nics: list[NicSpec]
    user_data: str | None = None
    ssh_keys: list[str] = []


class VmNetworkList(Struct, frozen=True, kw_only=True):
    """The VMs of a host."""

    vms: list[VmNetworks]


class ListVmNetworks(Query[VmNetworkList], frozen=True, kw_only=True, tag="vm.list-networks"):
    """The network cards of all VMs that hold a place on a host."""

    host_uuid: str


class ObserveVm(Command[None], frozen=True, kw_only=True, tag="vm.observe"):
    """A hypervisor said how a VM stands; make the database true. Safe to repeat; transitional states are left alone."""

    route: ClassVar[str | None] = "vm"

    vm: str
    host: str
    power: str
    reason: str | None = None


class VmStateChanged(Event, frozen=True, kw_only=True, tag="vm.state-changed"):
    """A VM came into another state."""

    vm: str
    name: str
    before: str
    state: str
    host: str | None = None
    reason: str | None = None  #: when it happened by itself


class StrangeVmSeen(Event, frozen=True, kw_only=True, tag="vm.strange-seen"):
    """A host has a VM that the database does not place there."""

    vm: str
    host: str
    power: str
