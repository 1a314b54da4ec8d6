"""The state of simulated hosts, changed by plain assignments only.

A `World` can be written to a file and read back. The module `commands` says what may follow from what; how requests get here is
in `agents`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from cairn.agents.protocol.machine import machine_identity
from cairn.agents.protocol.network import DhcpEntry, MetadataEntry
from cairn.agents.protocol.vm import Disk, Hardware, Nic, PowerState

BACKUP: Final = "backup"
"""The name of the one simulated backup server."""

LOCK_SUFFIX: Final = ".lock"
"""Added to the name of a world's file: the name of its lock, which a simulator holds as long as it works with the file."""

_BUILT_ON_BYTES = 20 << 30  #: what a simulated machine's own system takes


class SimFile(Struct, kw_only=True, rename="camel"):
    """The file of a volume or an image."""

    path: str
    format: str
    virtual_size_bytes: int
    actual_size_bytes: int
    backing_path: str | None = None
    sha256: str = ""


class SimVm(Struct, kw_only=True, rename="camel"):
    """A domain of a VM; a stopped VM has none."""

    hardware: Hardware
    disks: list[Disk]
    nics: list[Nic]
    state: PowerState
    vnc_port: int
    boots: int = 1

    @property
    def is_on(self) -> bool:
        """True if it has memory, disks and taps, so if it is running or paused."""
        return self.state in (PowerState.RUNNING, PowerState.PAUSED)


class SimBridge(Struct, kw_only=True, rename="camel", omit_defaults=True):
    """A bridge; with `vni` it has a VXLAN port."""

    bridge: str
    mtu: int
    physical_interface: str | None = None
    vni: int | None = None
    local_ip: str | None = None
    peers: list[str] = []
    port: int | None = None


class SimDhcp(Struct, kw_only=True, rename="camel"):
    """A network's DHCP server on the host."""

    network: str
    bridge: str
    dhcp_ip: str
    netmask: str
    gateway: str
    dns: list[str]
    domain: str | None
    mtu: int
    entries: dict[str, DhcpEntry]  #: by MAC address
    names: dict[str, str] = {}  #: of VMs on other hosts, by address


class Machine(Struct, kw_only=True, rename="camel"):
    """The size of every machine of a world."""

    cpu_num: int = 64
    memory_bytes: int = 256 << 30
    disk_bytes: int = 4 << 40


class SimHost(Struct, kw_only=True, rename="camel"):
    """One simulated host or backup server."""

    name: str
    address: str
    machine: Machine
    boot: str
    host: str | None = None  #: its uuid, once connected
    former: list[str] = []  #: uuids that it had before and was never told to forget
    report_url: str | None = None
    storage: list[str] = []  #: folders that were prepared
    volumes: dict[str, SimFile] = {}  #: by path
    images: dict[str, SimFile] = {}  #: by path
    vms: dict[str, SimVm] = {}  #: by uuid
    taken: dict[str, str] = {}  #: disk path or tap name -> uuid of the VM that is on and has it
    consoles: dict[str, str] = {}  #: by VM uuid; stays when the VM stops
    bridges: dict[str, SimBridge] = {}
    peers_told: int = 0  #: addresses of tunnels' ends that it was told, all together
    names_told: int = 0  #: names of VMs on other hosts that it was told, all together
    dhcp: dict[str, SimDhcp] = {}  #: by network
    metadata: dict[str, dict[str, MetadataEntry]] = {}  #: by network, then address
    next_vnc_port: int = 5900
    used_bytes: int = _BUILT_ON_BYTES  #: of the disk
    files_bytes: int = 0  #: of the disk, by volumes and images
    kept: dict[str, dict[str, str]] = {}  #: what the commands of plugins keep there, by the plugin's name
    epochs: dict[str, int] = {}  #: the highest that it was commanded in, by resource (`cairn.agents.protocol.fence`)
    anonymous: bool = False  #: it cannot tell which machine it is

    @property
    def identity(self) -> str | None:
        """What the simulated machine is; each is one of its own."""
        return None if self.anonymous else machine_identity(self.name, "")

    @property
    def available_bytes(self) -> int:
        """The free bytes of the disk."""
        return self.machine.disk_bytes - self.used_bytes

    def add_file(self, files: dict[str, SimFile], file: SimFile) -> None:
        """Put a file on the disk; `files` is `volumes` or `images`."""
        files[file.path] = file
        self.used_bytes += file.actual_size_bytes
        self.files_bytes += file.actual_size_bytes

    def remove_file(self, path: str) -> None:
        """Take a file off the disk. Nothing there: nothing happens."""
        for files in (self.volumes, self.images):
            file = files.pop(path, None)
            if file is not None:
                self.used_bytes -= file.actual_size_bytes
                self.files_bytes -= file.actual_size_bytes

    def power_on(self, uuid: str, vm: SimVm) -> None:
        """Set the VM running, and give it its disks and taps."""
        self.vms[uuid] = vm
        for disk in vm.disks:
            self.taken[disk.path] = uuid
        for nic in vm.nics:
            self.taken[nic.device] = uuid

    def power_off(self, uuid: str) -> None:
        """Set the VM stopped, and take its disks and taps away. Not running: nothing happens."""
        vm = self.vms.get(uuid)
        if vm is not None and vm.is_on:
            vm.state = PowerState.STOPPED
            for name in (*(disk.path for disk in vm.disks), *(nic.device for nic in vm.nics)):
                self.taken.pop(name, None)


class World(Struct, kw_only=True, rename="camel"):
    """All simulated machines, by name."""

    hosts: dict[str, SimHost]
    seed: int = 0
    boots: int = 0  #: how often agents were started, all together


def host_name(number: int) -> str:
    """The name of the host with that number, from 1: ``sim-0001``."""
    return f"sim-{number:04d}"


def new_world(hosts: int, *, seed: int = 0, machine: Machine | None = None) -> World:
    """A world of `hosts` hosts and the backup server, with nothing on them."""
    world = World(hosts={}, seed=seed)
    for number in range(hosts + 1):
        name = host_name(number) if number else BACKUP
        world.hosts[name] = SimHost(
            name=name,
            address=f"198.19.{number >> 8 & 255}.{number & 255}",
            machine=machine or Machine(),
            boot="",
        )
    restart_agents(world)
    return world


def restart_agents(world: World, *names: str) -> None:
    """Restart the agents (of the named hosts; none named: of all); what is on the hosts stays."""
    for name in names or tuple(world.hosts):
        world.boots += 1
        world.hosts[name].boot = hashlib.sha256(f"{world.seed} {name} {world.boots}".encode()).hexdigest()[:32]


def load(file: Path) -> World:
    """Read the world that was saved to `file`, with its agents restarted.

    Raises:
        ValueError: the file holds no world.
    """
    try:
        world = msgspec.json.decode(file.read_bytes(), type=World)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{file} holds no simulated world: {error}. Remove it to begin with an empty one.") from error
    restart_agents(world)
    return world


def save(world: World, file: Path) -> None:
    """Write the world to `file`; a reader sees the old one or the new one, never half of one."""
    temporary = file.with_name(file.name + ".new")
    temporary.write_bytes(msgspec.json.encode(world))
    temporary.replace(file)
