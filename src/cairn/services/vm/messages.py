"""Messages about VMs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from cairn.kernel.api import (
    Access,
    ApiChange,
    ApiCommand,
    ApiDelete,
    ApiQuery,
    ApiUpdate,
    DeleteMode,
    Description,
    Http,
    Name,
    Refers,
    Uuid,
    action,
    delete,
    get,
    post,
)
from cairn.kernel.bus.message import Command, Event, Query
from cairn.kernel.error import CairnError, ErrorKind, invalid
from cairn.services.image.messages import ApiCreateFromImage
from cairn.services.vm.extensions import VmNetworks

CpuNum = Annotated[int, Meta(ge=1, le=1024)]
MemorySize = Annotated[int, Meta(ge=16 << 20, le=1 << 44)]


class CreationStrategy(StrEnum):
    """Whether a new VM is started."""

    INSTANT_START = "InstantStart"
    CREATE_STOPPED = "CreateStopped"


class StopType(StrEnum):
    """The two ways to stop a VM."""

    GRACE = "grace"  #: press the power button, and pull the plug when that has not helped within a minute
    COLD = "cold"  #: pull the plug at once


class CreateVmInstance(ApiCreateFromImage, frozen=True, kw_only=True, tag="vm.create", omit_defaults=True):
    """Create a VM from an image and start it.

    Give either `instanceOfferingUuid`, or `cpuNum` and `memorySize`. Where it runs is chosen among connected hosts with
    enough memory and processors that reach all its networks; zone, cluster or host narrow that down.

    Errors: ``host.none-fits``, ``l3.no-free-address``, ``image.not-ready``, ``vm.size-missing``.
    """

    http: ClassVar[Http] = post("/vm-instances")
    entity: ClassVar[str | None] = "VmInstance"
    access: ClassVar[Access] = Access.ACCOUNT

    name: Name
    description: Description | None = None
    l3_network_uuids: Annotated[
        list[Annotated[Uuid, Refers("L3Network")]], Meta(min_length=1, max_length=16)
    ]  #: a network card in each, in this order
    default_l3_network_uuid: Annotated[Uuid, Refers("L3Network")] | None = None  #: whose gateway is the default route
    instance_offering_uuid: Annotated[Uuid, Refers("InstanceOffering")] | None = None
    cpu_num: CpuNum | None = None  #: virtual processors
    memory_size: MemorySize | None = None  #: bytes
    root_disk_size: Annotated[int, Meta(ge=1 << 20, le=1 << 50)] | None = None  #: bytes; by default the image's size
    zone_uuid: Annotated[Uuid, Refers("Zone")] | None = None
    cluster_uuid: Annotated[Uuid, Refers("Cluster")] | None = None
    host_uuid: Annotated[Uuid, Refers("Host")] | None = None
    primary_storage_uuid_for_root_volume: Annotated[Uuid, Refers("PrimaryStorage")] | None = None
    strategy: CreationStrategy = CreationStrategy.INSTANT_START

    @property
    def default_network(self) -> str:
        """The network whose gateway is the default route."""
        return self.default_l3_network_uuid or self.l3_network_uuids[0]

    def check(self) -> None:
        """It has one size, and each network once (``vm.size-missing``, ``vm.two-sizes``, ``vm.network-twice``, ...)."""
        _check_size(self)
        if len(set(self.l3_network_uuids)) != len(self.l3_network_uuids):
            raise invalid(
                "vm.network-twice", "l3NetworkUuids", self.l3_network_uuids, "each network at most once would fit"
            )
        if self.default_network not in self.l3_network_uuids:
            raise invalid(
                "vm.default-network",
                "defaultL3NetworkUuid",
                self.default_network,
                "one of l3NetworkUuids would fit",
            )


def _check_size(asked: CreateVmInstance) -> None:
    given = {"cpuNum": asked.cpu_num, "memorySize": asked.memory_size}
    missing = [field for field, value in given.items() if value is None]
    if asked.instance_offering_uuid is None and missing:
        raise CairnError(
            "vm.size-missing",
            "The VM has no size: give instanceOfferingUuid, or both cpuNum and memorySize (bytes).",
            kind=ErrorKind.INVALID,
            fields=dict.fromkeys(
                missing, "found nothing; a number, or instead of both numbers instanceOfferingUuid, would fit"
            ),
        )
    if asked.instance_offering_uuid is not None and len(missing) < len(given):
        raise CairnError(
            "vm.two-sizes",
            "The VM has two sizes: give either instanceOfferingUuid, or cpuNum and memorySize.",
            kind=ErrorKind.INVALID,
            fields={field: "leave it out when an offering is given" for field in given if field not in missing},
        )


class VmAction(ApiChange, frozen=True, kw_only=True, omit_defaults=True):
    """An API call that does something to a VM as a whole; `machine.LIFE` says in which states it may."""

    abstract: ClassVar[bool] = True
    entity: ClassVar[str | None] = "VmInstance"
    access: ClassVar[Access] = Access.ACCOUNT

    uuid: Annotated[Uuid, Refers("VmInstance")]


class StartVmInstance(VmAction, frozen=True, kw_only=True, tag="vm.start"):
    """Start a stopped VM, on the host that has its disk. One that runs already is success."""

    http: ClassVar[Http] = action("/vm-instances/{uuid}/actions", "startVmInstance")

    cluster_uuid: Annotated[Uuid, Refers("Cluster")] | None = None
    host_uuid: Annotated[Uuid, Refers("Host")] | None = None


class StopVmInstance(VmAction, frozen=True, kw_only=True, tag="vm.stop"):
    """Stop a VM. One that is stopped already is success."""

    http: ClassVar[Http] = action("/vm-instances/{uuid}/actions", "stopVmInstance")

    type: StopType = StopType.GRACE

    def frees(self) -> bool:
        """It gives memory and processors back."""
        return True


class RebootVmInstance(VmAction, frozen=True, kw_only=True, tag="vm.reboot"):
    """Stop a VM and start it again where it is."""

    http: ClassVar[Http] = action("/vm-instances/{uuid}/actions", "rebootVmInstance")


class PauseVmInstance(VmAction, frozen=True, kw_only=True, tag="vm.pause"):
    """Make a running VM's processors stand still; its memory, disks and addresses stay. One that is paused is success."""

    http: ClassVar[Http] = action("/vm-instances/{uuid}/actions", "pauseVmInstance")


class ResumeVmInstance(VmAction, frozen=True, kw_only=True, tag="vm.resume"):
    """Let a paused VM go on where it stood still. One that runs already is success."""

    http: ClassVar[Http] = action("/vm-instances/{uuid}/actions", "resumeVmInstance")


class RecoverVmInstance(VmAction, frozen=True, kw_only=True, tag="vm.recover"):
    """Take back a VM's destruction: it is Stopped, with its disk and its network cards.

    Its MAC and IP addresses are the former ones unless others have them by now. Networks that are gone are left out.

    Errors: ``vm.wrong-state`` if it is not Destroyed, ``l3.no-free-address``, ``l3.disabled``.
    """

    http: ClassVar[Http] = action("/vm-instances/{uuid}/actions", "recoverVmInstance")


class UpdateVmInstance(ApiUpdate, frozen=True, kw_only=True, tag="vm.update"):
    """Change a VM's name or description, or (while it is stopped) its size."""

    http: ClassVar[Http] = action("/vm-instances/{uuid}/actions", "updateVmInstance")
    entity: ClassVar[str | None] = "VmInstance"
    access: ClassVar[Access] = Access.ACCOUNT

    uuid: Annotated[Uuid, Refers("VmInstance")]
    cpu_num: CpuNum | None = None
    memory_size: MemorySize | None = None  #: bytes


class DestroyVmInstance(ApiDelete, frozen=True, kw_only=True, tag="vm.destroy"):
    """Take a VM off its host and give its addresses back; its disk stays until it is expunged.

    With ``deleteMode=Enforcing`` a host that cannot be reached does not keep it: the VM is destroyed as far as the cloud is
    concerned, and taken off the host if that returns (`HostDebt`).

    Until then, which is by itself after the setting `vm.expungePeriod`, it can be recovered.
    """

    http: ClassVar[Http] = delete("/vm-instances/{uuid}")
    entity: ClassVar[str | None] = "VmInstance"
    access: ClassVar[Access] = Access.ACCOUNT

    uuid: Uuid


class ExpungeVmInstance(ApiCommand[None], frozen=True, kw_only=True, tag="vm.expunge"):
    """Remove a destroyed VM for good, with its disk.

    With ``deleteMode=Enforcing`` a disk on a host that cannot be reached, or does not remove it, is removed later (`HostDebt`).

    Errors: ``vm.in-use``, where something of a plugin needs it.
    """

    route: ClassVar[str | None] = "uuid"
    http: ClassVar[Http] = action("/vm-instances/{uuid}/actions", "expungeVmInstance")
    entity: ClassVar[str | None] = "VmInstance"
    access: ClassVar[Access] = Access.ACCOUNT

    uuid: Annotated[Uuid, Refers("VmInstance")]
    delete_mode: DeleteMode = DeleteMode.PERMISSIVE

    def frees(self) -> bool:
        """It gives the disk back."""
        return True


def by_force(vm: str) -> list[Command[object]]:
    """The calls that remove a VM for good, whether its host can be reached or not."""
    return [
        DestroyVmInstance(uuid=vm, delete_mode=DeleteMode.ENFORCING),
        ExpungeVmInstance(uuid=vm, delete_mode=DeleteMode.ENFORCING),
    ]


#: a call that `machine.LIFE` has a row for
VmCall = CreateVmInstance | VmAction | DestroyVmInstance | ExpungeVmInstance


class RemoveStrayVm(ApiDelete, frozen=True, kw_only=True, tag="stray-vm.remove"):
    """Destroy a VM that a host has and the database does not place there; its disks stay. One that is gone is success.

    Errors: ``stray-vm.at-home`` if the database places it there by now.
    """

    http: ClassVar[Http] = delete("/stray-vms/{uuid}")
    entity: ClassVar[str | None] = "StrayVm"

    uuid: Uuid


class ConsoleAddress(Struct, frozen=True, kw_only=True, rename="camel"):
    """The address of a VM's screen (on its host's loopback), and the end of its serial console's log."""

    host_ip: str
    port: int
    protocol: str
    console_log: str  #: the last 64 KiB
    success: bool = True


class GetVmConsoleAddress(ApiQuery[ConsoleAddress], frozen=True, kw_only=True, tag="vm.console"):
    """Find a running VM's screen, and read its serial console."""

    route: ClassVar[str | None] = "uuid"
    http: ClassVar[Http] = get("/vm-instances/{uuid}/console-addresses")

    uuid: Annotated[Uuid, Refers("VmInstance")]


class VmNetworkList(Struct, frozen=True, kw_only=True):
    """The VMs of a host."""

    vms: list[VmNetworks]


class ListVmNetworks(Query[VmNetworkList], frozen=True, kw_only=True, tag="vm.list-networks"):
    """The network cards of all VMs that hold a place on a host to run there, those included that are starting."""

    host_uuid: str


class _VmOnHost(Command[None], frozen=True, kw_only=True):
    """About a VM and a host; done in the VM's turn, on its node."""

    abstract: ClassVar[bool] = True
    route: ClassVar[str | None] = "vm"

    vm: str
    host: str


class ObserveVm(_VmOnHost, frozen=True, kw_only=True, tag="vm.observe"):
    """A hypervisor reported a VM's state; make the database true. Safe to repeat; transitional states are left alone."""

    power: str
    reason: str | None = None


class LeaveHost(_VmOnHost, frozen=True, kw_only=True, tag="vm.leave-host"):
    """A host goes for good: stop the VM there, and if the host cannot be reached, take it for stopped."""


class TakeOffHost(_VmOnHost, frozen=True, kw_only=True, tag="vm.take-off-host"):
    """Destroy what a host still runs under a VM's uuid, unless the VM has its place there. Safe to repeat."""


class FollowVm(_VmOnHost, frozen=True, kw_only=True, tag="vm.follow"):
    """Have a host serve a VM's networks if the VM has its place there, and else no more. Safe to repeat."""


class TakeStray(Command[None], frozen=True, kw_only=True, tag="vm.take-stray"):
    """Destroy a stray on its host, in the turn of the VM whose uuid it has. Safe to repeat.

    Errors: ``stray-vm.at-home``: the database places the VM on that host by now.
    """

    route: ClassVar[str | None] = "vm"

    vm: str
    stray: str


class _NetworksOnHost(Command[None], frozen=True, kw_only=True):
    """About a VM's networks and a host; done on the host's node."""

    abstract: ClassVar[bool] = True
    route: ClassVar[str | None] = "host"

    host: str
    vm: VmNetworks


class ServeVmNetworks(_NetworksOnHost, frozen=True, kw_only=True, tag="vm.serve-networks"):
    """Have a host serve a VM's networks. Safe to repeat."""


class ReleaseVmNetworks(_NetworksOnHost, frozen=True, kw_only=True, tag="vm.release-networks"):
    """Have a host serve a VM's networks no more. Safe to repeat."""


class VmPlaceSeen(Event, frozen=True, kw_only=True, tag="vm.place-seen"):
    """A VM left a host, or came to one, by itself: what the host serves for it has to follow."""

    vm: str
    host: str


class VmStateChanged(Event, frozen=True, kw_only=True, tag="vm.state-changed"):
    """A VM came into another state."""

    vm: str
    name: str
    before: str
    state: str
    host: str | None = None
    reason: str | None = None  #: when it happened by itself


class VmCrashed(Event, frozen=True, kw_only=True, tag="vm.crashed"):
    """A VM ended without its guest or anybody else having asked for it; it is Stopped now."""

    vm: str
    name: str
    host: str
    reason: str | None = None


class StrangeVmSeen(Event, frozen=True, kw_only=True, tag="vm.strange-seen"):
    """A host says that it has a VM which the database does not place there: one that nobody knows, or one of another host.

    It is not believed. A host that was broken into, or that is a copy of another, says what it likes; and the next start of the
    VM is refused by its disk, if it really runs there.
    """

    vm: str
    host: str
    power: str
    placed_on: str | None = None  #: the host that the database places it on, or placed it on last; None: none
