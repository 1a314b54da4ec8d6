"""The commands about VMs, with their answers."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar

from msgspec import Struct

from cairn.agents.protocol.wire import AgentCommand, Done, Part, Result


class PowerState(StrEnum):
    """The state of a VM as the hypervisor reports it."""

    RUNNING = "Running"
    PAUSED = "Paused"
    STOPPED = "Stopped"  #: no domain, or shut off
    CRASHED = "Crashed"


class Hardware(Part, frozen=True, kw_only=True):
    """The hardware that a hypervisor gives a VM, apart from its disks and network cards.

    It is carried whole from the VM's row to the host, so a field that is added here is passed on by itself.
    """

    uuid: str
    name: str  #: what people call it; shown as the domain's title
    cpu_num: int
    memory_size: int  #: bytes
    platform: str = "Linux"  #: of the guest: ``Windows`` and ``WindowsVirtio`` keep local time, all others UTC
    architecture: str = "x86_64"  #: of its processors: that of its host
    virtio: bool = True  #: whether the guest has drivers for virtio devices; else it gets what every system knows


class Nic(Part, frozen=True, kw_only=True):
    """A network card of a VM."""

    mac: str
    bridge: str
    device: str  #: the tap's name on the host, ``vnic12.0``, at most 15 characters
    model: str = "virtio"
    mtu: int = 1500
    addresses: list[str] = []  #: the only IPv4 addresses that the guest may use; none given: any


class Disk(Part, frozen=True, kw_only=True):
    """A disk of a VM; device number 0 is the one that boots."""

    path: str
    device_id: int
    format: str = "qcow2"
    volume: str = ""  #: volume uuid, shown to the guest as the disk's serial number
    bus: str = "virtio"


class VmStatus(Result, frozen=True, kw_only=True):
    """The state of a VM after a command."""

    state: PowerState
    vnc_port: int | None = None


class StartVm(AgentCommand[VmStatus], frozen=True, kw_only=True):
    """Define and start the VM; one that is running already is success. A leftover definition of it is replaced."""

    name: ClassVar[str] = "vm.start"
    answer: ClassVar[type[Result]] = VmStatus

    hardware: Hardware
    disks: list[Disk]
    nics: list[Nic]
    accelerator: str = "auto"  #: ``kvm``, ``tcg`` or ``auto``: what the host's probe found


class StopVm(AgentCommand[VmStatus], frozen=True, kw_only=True):
    """Stop the VM: ``grace`` presses the power button, waits `grace_seconds`, then pulls the plug; ``cold`` pulls it at once.

    Not running is success. The domain is undefined in the end.
    """

    name: ClassVar[str] = "vm.stop"
    answer: ClassVar[type[Result]] = VmStatus

    vm: str
    mode: str = "grace"
    grace_seconds: float = 60.0


class RebootVm(AgentCommand[VmStatus], frozen=True, kw_only=True):
    """Stop (grace) and start with the same definition. One that is not running: error ``agent.vm-not-running``."""

    name: ClassVar[str] = "vm.reboot"
    answer: ClassVar[type[Result]] = VmStatus

    vm: str
    grace_seconds: float = 60.0


class PauseVm(AgentCommand[VmStatus], frozen=True, kw_only=True):
    """Stop the VM's processors. Paused already is success; not on: error ``agent.vm-not-running``."""

    name: ClassVar[str] = "vm.pause"
    answer: ClassVar[type[Result]] = VmStatus

    vm: str


class ResumeVm(AgentCommand[VmStatus], frozen=True, kw_only=True):
    """Let a paused VM run on. Running already is success; not on: error ``agent.vm-not-running``."""

    name: ClassVar[str] = "vm.resume"
    answer: ClassVar[type[Result]] = VmStatus

    vm: str


class DestroyVm(AgentCommand[Done], frozen=True, kw_only=True):
    """Remove the VM's domain, taps and console log from the host. Nothing there is success. Disks stay."""

    name: ClassVar[str] = "vm.destroy"
    answer: ClassVar[type[Result]] = Done

    vm: str


class Tap(Part, frozen=True, kw_only=True):
    """A tap of a VM, and what its guest may send."""

    vm: str
    device: str  #: the tap's name on the host
    mac: str
    addresses: list[str] = []  #: the only IPv4 addresses that the guest may use; none given: any


class FilterTaps(AgentCommand[Done], frozen=True, kw_only=True):
    """Set the filters of these taps as they are set when a VM starts, for VMs that run; VMs that do not are success."""

    name: ClassVar[str] = "vm.filter-taps"
    answer: ClassVar[type[Result]] = Done

    taps: list[Tap]


class VmSize(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a domain takes of its host."""

    cpu_num: int = 0
    memory_size: int = 0  #: bytes


class VmList(Result, frozen=True, kw_only=True):
    """All VMs of cairn on the host."""

    vms: Mapping[str, str]  #: VM uuid -> `PowerState` value; a later agent may know more of those
    sizes: dict[str, VmSize] = {}  #: of those that have a domain


class ListVms(AgentCommand[VmList], frozen=True, kw_only=True):
    """List all VMs of cairn on the host, changing nothing."""

    name: ClassVar[str] = "vm.list"
    answer: ClassVar[type[Result]] = VmList


class Console(Result, frozen=True, kw_only=True):
    """The end of a VM's serial console (the last `size_bytes`), and the address of its screen."""

    text: str
    vnc_address: str | None = None
    vnc_port: int | None = None


class GetConsole(AgentCommand[Console], frozen=True, kw_only=True):
    """Read a VM's console, changing nothing."""

    name: ClassVar[str] = "vm.console"
    answer: ClassVar[type[Result]] = Console

    vm: str
    size_bytes: int = 65536
