"""Every command of the protocol, applied to a world at once (those on files: `storage`).

A command either changes the world and answers, or raises `Refused` and changes nothing. States that a real host cannot have
are refused here too: a VM over a volume that does not exist, a volume over an image that is not cached, a file taken
from under a running VM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, cast

import msgspec

from cairn.agents.protocol import codes
from cairn.agents.protocol.host import Connect, Forget, GetFacts, HostFacts
from cairn.agents.protocol.names import MOST_BUCKETS, bucket_of, digests
from cairn.agents.protocol.network import (
    ChangeVxlanPeers,
    CompareNames,
    DhcpLeft,
    EnsureBridge,
    EnsureDhcp,
    EnsureVxlan,
    KeepDhcp,
    NamesKnown,
    RemoveBridge,
    RemoveDhcp,
    RemoveDhcpEntries,
    SetNames,
    VxlanPeers,
    tunnel_generation,
)
from cairn.agents.protocol.storage import (
    CacheImage,
    CreateVolume,
    DeleteFile,
    DownloadImage,
    GetCapacity,
    InitStorage,
)
from cairn.agents.protocol.trust import RenewTrust
from cairn.agents.protocol.vm import (
    Console,
    DestroyVm,
    FilterTaps,
    GetConsole,
    ListVms,
    PauseVm,
    PowerState,
    RebootVm,
    ResumeVm,
    StartVm,
    StopVm,
    VmList,
    VmSize,
    VmStatus,
)
from cairn.agents.protocol.wire import PROTOCOL_VERSION, AgentCommand, Done, Result
from cairn.simulator import storage
from cairn.simulator.refusal import Refused
from cairn.simulator.world import SimBridge, SimDhcp, SimHost, SimVm, World

C = TypeVar("C", bound=AgentCommand[Any])
R = TypeVar("R", bound=Result)

_DONE: Final = Done()


# Commands about the machine.


def connect(world: World, host: SimHost, command: Connect) -> HostFacts:
    """Keep the host's uuid and the URL that its reports go to."""
    if host.host not in (None, command.host):
        host.former = [host.host, *host.former]
    host.former = [uuid for uuid in host.former if uuid != command.host]
    host.host = command.host
    host.report_url = command.report_url
    return facts(world, host, GetFacts())


def facts(world: World, host: SimHost, command: GetFacts) -> HostFacts:
    """Report the facts of the simulated machine."""
    machine = host.machine
    used = sum(vm.hardware.memory_size for vm in host.vms.values() if vm.is_on)
    return HostFacts(
        hostname=host.name,
        architecture="x86_64",
        os_distribution="simulated",
        os_version=str(PROTOCOL_VERSION),
        kernel="simulated",
        cpu_model="Simulated CPU",
        cpu_num=machine.cpu_num,
        cpu_sockets=2 if machine.cpu_num > 1 else 1,
        memory_bytes=machine.memory_bytes,
        available_memory_bytes=max(machine.memory_bytes - used, 0),
        accelerator="kvm",
        libvirt_version="9.0.0",
        qemu_version="7.2.0",
        features={"vlan": True, "vxlan": True, "nftables_bridge": True, "vhost_net": True},
        addresses=[host.address],
        former=list(host.former),
    )


def forget(world: World, host: SimHost, command: Forget) -> Done:
    """Remove all that the cloud made; a host with VMs is refused."""
    if host.vms:
        raise Refused(codes.BUSY, f"{host.name} still has {len(host.vms)} VMs. Destroy or move them first.")
    host.host = host.report_url = None
    host.former = []
    host.bridges.clear()
    host.dhcp.clear()
    host.metadata.clear()
    return _DONE


def renew_trust(world: World, host: SimHost, command: RenewTrust) -> Done:
    """Refuse, as any agent does that speaks without TLS."""
    raise Refused(codes.MISSING_FEATURE, f"{host.name} speaks without TLS: it has no certificate to renew.")


# Networks.


def ensure_bridge(world: World, host: SimHost, command: EnsureBridge) -> Done:
    """Make a bridge without a tunnel."""
    _check_bridge_name(command.bridge)
    host.bridges[command.bridge] = SimBridge(
        bridge=command.bridge, mtu=command.mtu, physical_interface=command.physical_interface
    )
    return _DONE


def ensure_vxlan(world: World, host: SimHost, command: EnsureVxlan) -> Done:
    """Make a bridge with a tunnel port."""
    _check_bridge_name(command.bridge)
    if not 1 <= command.vni <= 16_777_214:
        raise Refused(codes.BAD_REQUEST, f"vni: found {command.vni}; 1 to 16777214 fits.")
    for other in host.bridges.values():
        if other.vni == command.vni and other.bridge != command.bridge:
            raise Refused(codes.BUSY, f"VNI {command.vni} has the bridge {other.bridge} already. Remove that first.")
    host.peers_told += len(command.peers)
    host.bridges[command.bridge] = SimBridge(
        bridge=command.bridge,
        mtu=command.mtu,
        vni=command.vni,
        local_ip=command.local_ip,
        peers=sorted(set(command.peers) - {command.local_ip}),
        port=command.port,
    )
    return _DONE


def change_vxlan_peers(world: World, host: SimHost, command: ChangeVxlanPeers) -> VxlanPeers:
    """Change the peers of a tunnel port, if the changes fit."""
    bridge = host.bridges.get(command.bridge)
    host.peers_told += len(command.add) + len(command.remove)
    if bridge is None or bridge.vni is None or bridge.local_ip != command.local_ip:
        return VxlanPeers(fitted=False)
    peers = (set(bridge.peers) | set(command.add)) - set(command.remove) - {command.local_ip}
    if tunnel_generation(peers | {command.local_ip}) != command.generation:
        return VxlanPeers(fitted=False)
    bridge.peers = sorted(peers)
    return VxlanPeers()


def remove_bridge(world: World, host: SimHost, command: RemoveBridge) -> Done:
    """Remove the bridge, unless a VM is on it."""
    for uuid, vm in host.vms.items():
        if vm.is_on and any(nic.bridge == command.bridge for nic in vm.nics):
            raise Refused(codes.BUSY, f"The bridge {command.bridge} is used by the running VM {uuid}. Stop it first.")
    host.bridges.pop(command.bridge, None)
    return _DONE


def ensure_dhcp(world: World, host: SimHost, command: EnsureDhcp) -> Done:
    """Make the network's server, with these entries and metadata added to those there are."""
    _need_bridge(host, command.bridge)
    old = host.dhcp.get(command.network)
    given = {entry.ip for entry in command.entries}
    entries = {} if old is None else {mac: entry for mac, entry in old.entries.items() if entry.ip not in given}
    for entry in command.entries:
        entries[entry.mac] = entry
    _remove_metadata(host, command.network, {one.vm for one in command.metadata})
    for one in command.metadata:
        host.metadata.setdefault(command.network, {})[one.ip] = one
    host.dhcp[command.network] = SimDhcp(
        network=command.network,
        bridge=command.bridge,
        dhcp_ip=command.dhcp_ip,
        netmask=command.netmask,
        gateway=command.gateway,
        dns=command.dns,
        domain=command.domain,
        mtu=command.mtu,
        entries=entries,
        names={} if old is None else old.names,
    )
    if not entries:
        del host.dhcp[command.network]
    return _DONE


def remove_dhcp_entries(world: World, host: SimHost, command: RemoveDhcpEntries) -> DhcpLeft:
    """Remove entries and metadata, and with the last entry the server."""
    _remove_metadata(host, command.network, set(command.vms))
    server = host.dhcp.get(command.network)
    if server is not None:
        for mac in command.macs:
            server.entries.pop(mac, None)
        if not server.entries:
            del host.dhcp[command.network]
    return DhcpLeft(served=command.network in host.dhcp)


def keep_dhcp(world: World, host: SimHost, command: KeepDhcp) -> Done:
    """Remove all entries but these, with the metadata of addresses that have none then."""
    for network in [*host.dhcp, *(host.metadata.keys() - host.dhcp.keys())]:
        server, macs = host.dhcp.get(network), set(command.macs.get(network, ()))
        kept = {mac: entry for mac, entry in server.entries.items() if mac in macs} if server is not None else {}
        addresses = {entry.ip for entry in kept.values()}
        told = host.metadata.get(network, {})
        _remove_metadata(host, network, {one.vm for ip, one in told.items() if ip not in addresses})
        if server is not None:
            server.entries = kept
            if not kept:
                del host.dhcp[network]
    return _DONE


def set_names(world: World, host: SimHost, command: SetNames) -> Done:
    """Have the network's server answer names of VMs on other hosts."""
    server = host.dhcp.get(command.network)
    if server is not None:
        host.names_told += len(command.names)
        anew = set(command.anew)
        kept = {} if command.only else server.names
        kept = {ip: name for ip, name in kept.items() if not anew or bucket_of(ip, command.buckets) not in anew}
        server.names = {**kept, **command.names}
        for ip in command.gone:
            server.names.pop(ip, None)
    return _DONE


def compare_names(world: World, host: SimHost, command: CompareNames) -> NamesKnown:
    """Tell digests of the names that the network's server was told."""
    if not 1 <= command.buckets <= MOST_BUCKETS:
        raise Refused(codes.BAD_REQUEST, f"buckets: {command.buckets} was found; 1 to {MOST_BUCKETS} would fit.")
    server = host.dhcp.get(command.network)
    return NamesKnown(digests=[] if server is None else digests(server.names, command.buckets))


def remove_dhcp(world: World, host: SimHost, command: RemoveDhcp) -> Done:
    """Remove the network's server and metadata."""
    host.dhcp.pop(command.network, None)
    host.metadata.pop(command.network, None)
    return _DONE


def _remove_metadata(host: SimHost, network: str, vms: set[str]) -> None:
    known = host.metadata.get(network)
    if known is not None:
        for ip in [ip for ip, one in known.items() if one.vm in vms]:
            del known[ip]
        if not known:
            del host.metadata[network]


# Commands about virtual machines.


def start_vm(world: World, host: SimHost, command: StartVm) -> VmStatus:
    """Start the VM, if it is not running."""
    hardware = command.hardware
    vm = host.vms.get(hardware.uuid)
    if vm is None or not vm.is_on:
        _check_startable(host, command)
        vm = SimVm(
            hardware=hardware,
            disks=command.disks,
            nics=command.nics,
            state=PowerState.RUNNING,
            vnc_port=host.next_vnc_port,
        )
        host.next_vnc_port += 1
        host.power_on(hardware.uuid, vm)
        host.consoles[hardware.uuid] = _boot_text(hardware.name)
    return VmStatus(state=vm.state, vnc_port=vm.vnc_port)


def stop_vm(world: World, host: SimHost, command: StopVm) -> VmStatus:
    """Remove the VM's domain; its console's text stays."""
    if command.mode not in ("grace", "cold"):
        raise Refused(codes.BAD_REQUEST, f"mode: found {command.mode!r}; 'grace' or 'cold' fits.")
    host.power_off(command.vm)
    host.vms.pop(command.vm, None)
    return VmStatus(state=PowerState.STOPPED)


def reboot_vm(world: World, host: SimHost, command: RebootVm) -> VmStatus:
    """Stop the VM and start it with the same definition."""
    vm = _running(host, command.vm)
    vm.boots += 1
    vm.state = PowerState.RUNNING
    host.consoles[command.vm] += _boot_text(vm.hardware.name)
    return VmStatus(state=vm.state, vnc_port=vm.vnc_port)


def pause_vm(world: World, host: SimHost, command: PauseVm) -> VmStatus:
    """Stop the VM's processors; it keeps its memory, disks and taps."""
    vm = _running(host, command.vm)
    vm.state = PowerState.PAUSED
    return VmStatus(state=vm.state, vnc_port=vm.vnc_port)


def resume_vm(world: World, host: SimHost, command: ResumeVm) -> VmStatus:
    """Let a paused VM run on."""
    vm = _running(host, command.vm)
    vm.state = PowerState.RUNNING
    return VmStatus(state=vm.state, vnc_port=vm.vnc_port)


def destroy_vm(world: World, host: SimHost, command: DestroyVm) -> Done:
    """Remove all of the VM but its disks."""
    host.power_off(command.vm)
    host.vms.pop(command.vm, None)
    host.consoles.pop(command.vm, None)
    return _DONE


def filter_taps(world: World, host: SimHost, command: FilterTaps) -> Done:
    """Note what the guests of VMs that are on may send."""
    for tap in command.taps:
        vm = host.vms.get(tap.vm)
        if vm is not None and vm.is_on:
            vm.nics = [
                msgspec.structs.replace(nic, addresses=tap.addresses) if nic.device == tap.device else nic
                for nic in vm.nics
            ]
    return _DONE


def list_vms(world: World, host: SimHost, command: ListVms) -> VmList:
    """List all domains of the host with their states, including those that are off."""
    return VmList(
        vms={uuid: vm.state for uuid, vm in host.vms.items()},
        sizes={
            uuid: VmSize(cpu_num=vm.hardware.cpu_num, memory_size=vm.hardware.memory_size)
            for uuid, vm in host.vms.items()
        },
    )


def get_console(world: World, host: SimHost, command: GetConsole) -> Console:
    """Read the end of the text that the VM wrote."""
    vm = host.vms.get(command.vm)
    text = host.consoles.get(command.vm, "")
    return Console(
        text=text[-command.size_bytes :] if command.size_bytes > 0 else "",
        vnc_address=host.address if vm else None,
        vnc_port=vm.vnc_port if vm else None,
    )


# Checks that several commands share.


def _check_bridge_name(name: str) -> None:
    if not 0 < len(name) <= 15 or "/" in name or " " in name:
        raise Refused(codes.BAD_REQUEST, f"bridge: found {name!r}; 1 to 15 characters without blanks and slashes fit.")


def _need_bridge(host: SimHost, name: str) -> None:
    if name not in host.bridges:
        raise Refused(
            codes.MISSING_BRIDGE, f"There is no bridge {name} on {host.name}. Have the L2 network made there first."
        )


def _running(host: SimHost, uuid: str) -> SimVm:
    vm = host.vms.get(uuid)
    if vm is None or not vm.is_on:
        raise Refused(codes.VM_NOT_RUNNING, f"The VM {uuid} is not running on {host.name}. Start it instead.")
    return vm


def _check_startable(host: SimHost, command: StartVm) -> None:
    hardware = command.hardware
    if hardware.cpu_num < 1 or hardware.memory_size < 1 << 20:
        raise Refused(
            codes.BAD_REQUEST, f"{hardware.cpu_num} CPUs and {hardware.memory_size} bytes of memory make no VM."
        )
    if hardware.memory_size > host.machine.memory_bytes:
        raise Refused(
            codes.HYPERVISOR, f"cannot set up guest memory: {host.name} has {host.machine.memory_bytes} bytes."
        )
    if not command.disks or len({disk.device_id for disk in command.disks}) < len(command.disks):
        raise Refused(codes.BAD_REQUEST, "disks: at least one, each with a device number of its own, fit.")
    for disk in command.disks:
        if disk.path not in host.volumes:
            raise Refused(codes.MISSING_FILE, f"There is no volume {disk.path} on {host.name}. Create it first.")
    for nic in command.nics:
        _need_bridge(host, nic.bridge)
    _check_not_in_use(host, command)


def _check_not_in_use(host: SimHost, command: StartVm) -> None:
    for disk in command.disks:
        other = host.taken.get(disk.path)
        if other is not None:
            raise Refused(codes.HYPERVISOR, f'Failed to get "write" lock on {disk.path}: the VM {other} has it.')
    for nic in command.nics:
        other = host.taken.get(nic.device)
        if other is not None:
            raise Refused(codes.HYPERVISOR, f"Unable to create tap device {nic.device}: the VM {other} has it.")


def _boot_text(name: str) -> str:
    return f"simulated boot of {name}\n{name} login: "


# The table.

Apply = Callable[[World, SimHost, AgentCommand[Any]], Result]


Entry = tuple[msgspec.json.Decoder[AgentCommand[Any]], Apply]


def entry(kind: type[C], apply: Callable[[World, SimHost, C], R]) -> tuple[str, Entry]:
    """A line of the table: the command's name, how its body is decoded, and what it does."""
    decoder = cast("msgspec.json.Decoder[AgentCommand[Any]]", msgspec.json.Decoder(kind))
    return kind.name, (decoder, cast("Apply", apply))


COMMANDS: Final = dict(
    (
        entry(Connect, connect),
        entry(GetFacts, facts),
        entry(Forget, forget),
        entry(RenewTrust, renew_trust),
        entry(EnsureBridge, ensure_bridge),
        entry(EnsureVxlan, ensure_vxlan),
        entry(ChangeVxlanPeers, change_vxlan_peers),
        entry(RemoveBridge, remove_bridge),
        entry(EnsureDhcp, ensure_dhcp),
        entry(RemoveDhcpEntries, remove_dhcp_entries),
        entry(KeepDhcp, keep_dhcp),
        entry(SetNames, set_names),
        entry(CompareNames, compare_names),
        entry(RemoveDhcp, remove_dhcp),
        entry(InitStorage, storage.init_storage),
        entry(GetCapacity, storage.get_capacity),
        entry(CacheImage, storage.cache_image),
        entry(DownloadImage, storage.download_image),
        entry(CreateVolume, storage.create_volume),
        entry(DeleteFile, storage.delete_file),
        entry(StartVm, start_vm),
        entry(StopVm, stop_vm),
        entry(RebootVm, reboot_vm),
        entry(PauseVm, pause_vm),
        entry(ResumeVm, resume_vm),
        entry(DestroyVm, destroy_vm),
        entry(FilterTaps, filter_taps),
        entry(ListVms, list_vms),
        entry(GetConsole, get_console),
    )
)
"""By the command's name: how its body is decoded, and what it does to the world."""


def apply(world: World, host: SimHost, name: str, body: msgspec.Raw, more: Mapping[str, Entry] | None = None) -> Result:
    """Carry out the command `name` on `host`.

    Args:
        more: commands of plugins.

    Raises:
        Refused: the failure that a real agent would answer; nothing was changed.
    """
    known = COMMANDS.get(name) or (more or {}).get(name)
    if known is None:
        raise Refused(codes.UNKNOWN_COMMAND, f"There is no command {name!r} here. Bring the agent up to this version.")
    try:
        command = known[0].decode(body)
    except msgspec.MsgspecError as error:
        raise Refused(codes.BAD_REQUEST, f"{name}: {error}.") from error
    return known[1](world, host, command)
