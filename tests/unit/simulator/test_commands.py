"""Commands on a simulated world, beyond what the conformance suite asks of every agent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cairn.agents import protocol
from cairn.agents.protocol import codes, host, network, storage, trust, vm
from cairn.agents.protocol.host import Connect, Forget, GetFacts, HostFacts
from cairn.agents.protocol.network import (
    ChangeVxlanPeers,
    DhcpEntry,
    EnsureBridge,
    EnsureDhcp,
    EnsureVxlan,
    KeepDhcp,
    MetadataEntry,
    RemoveDhcp,
    RemoveDhcpEntries,
    SetNames,
    VxlanPeers,
    tunnel_generation,
)
from cairn.agents.protocol.storage import (
    CreateVolume,
    DeleteFile,
    InitStorage,
)
from cairn.agents.protocol.vm import (
    DestroyVm,
    Disk,
    GetConsole,
    Hardware,
    Nic,
    PauseVm,
    PowerState,
    RebootVm,
    ResumeVm,
    StartVm,
    StopVm,
)
from cairn.agents.protocol.wire import AgentCommand, Result
from cairn.simulator.commands import COMMANDS, apply
from cairn.simulator.refusal import Refused
from cairn.simulator.world import Machine, SimHost, World, new_world

FOLDER = "/storage"


class Fixture:
    def __init__(self, machine: Machine | None = None) -> None:
        self.world: World = new_world(1, machine=machine)
        self.host: SimHost = self.world.hosts["sim-0001"]
        self.do(InitStorage(path=FOLDER))

    def do(self, command: AgentCommand[Any], name: str = "sim-0001") -> Result:
        body = msgspec.Raw(msgspec.json.encode(command))
        return apply(self.world, self.world.hosts[name], command.name, body)

    def refused(self, command: AgentCommand[Any], name: str = "sim-0001") -> str:
        before = msgspec.json.encode(self.world)
        with pytest.raises(Refused) as caught:
            self.do(command, name)
        assert msgspec.json.encode(self.world) == before, "a refused command has changed the world"
        return caught.value.failure.code

    def told(self) -> dict[str, str]:
        return {ip: one.vm for ip, one in self.host.metadata["n"].items()}

    def volume(self, name: str = "root") -> str:
        self.do(CreateVolume(path=f"{FOLDER}/{name}", size_bytes=1 << 30))
        return f"{FOLDER}/{name}"


def start(
    uuid: str = "x", disks: tuple[str, ...] = ("root",), nics: tuple[Nic, ...] = (), memory: int = 1 << 30
) -> StartVm:
    return StartVm(
        hardware=Hardware(uuid=uuid, name="web", cpu_num=1, memory_size=memory),
        disks=[Disk(path=f"{FOLDER}/{name}", device_id=number) for number, name in enumerate(disks)],
        nics=list(nics),
    )


def test_every_command_of_the_protocol_is_known() -> None:
    declared = {
        kind.name
        for module in (host, network, storage, trust, vm)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, AgentCommand) and kind is not AgentCommand
    }
    assert set(COMMANDS) == declared
    assert protocol.__doc__


def test_facts_follow_from_the_machine_and_its_vms() -> None:
    site = Fixture(Machine(cpu_num=4, memory_bytes=8 << 30))
    site.volume()
    site.do(start())
    facts = site.do(GetFacts())
    assert isinstance(facts, HostFacts)
    assert (facts.cpu_num, facts.memory_bytes, facts.available_memory_bytes) == (4, 8 << 30, 7 << 30)


def test_host_with_vms_is_not_forgotten_and_an_empty_one_is_clean_afterwards() -> None:
    site = Fixture()
    site.volume()
    site.do(EnsureBridge(bridge="br0"))
    site.do(start())
    assert site.refused(Forget()) == codes.BUSY
    site.do(DestroyVm(vm="x"))
    site.do(Forget())
    assert not site.host.bridges


def test_vni_belongs_to_one_bridge() -> None:
    site = Fixture()
    site.do(EnsureVxlan(bridge="br1", vni=7, local_ip="198.18.0.1", peers=["198.18.0.2", "198.18.0.2"]))
    assert site.host.bridges["br1"].peers == ["198.18.0.2"]
    assert site.refused(EnsureVxlan(bridge="br2", vni=7, local_ip="198.18.0.1", peers=[])) == codes.BUSY


def test_changes_of_peers_are_made_where_they_fit_and_counted() -> None:
    site = Fixture()
    site.do(EnsureVxlan(bridge="br1", vni=7, local_ip="198.18.0.1", peers=["198.18.0.2"]))
    ends = ["198.18.0.1", "198.18.0.3"]
    change = ChangeVxlanPeers(
        bridge="br1",
        local_ip="198.18.0.1",
        generation=tunnel_generation(ends),
        add=["198.18.0.3"],
        remove=["198.18.0.2"],
    )
    assert site.do(change) == VxlanPeers()
    assert (site.host.bridges["br1"].peers, site.host.peers_told) == (["198.18.0.3"], 3)
    assert site.do(msgspec.structs.replace(change, generation=tunnel_generation([*ends, "198.18.0.4"]))) == VxlanPeers(
        fitted=False
    )
    assert site.do(msgspec.structs.replace(change, bridge="br2")) == VxlanPeers(fitted=False)


def test_dhcp_entry_with_the_same_mac_takes_the_place_of_the_other() -> None:
    site = Fixture()
    site.do(EnsureBridge(bridge="br0"))
    for ip in ("198.18.0.5", "198.18.0.6"):
        entry = DhcpEntry(mac="fa:00:00:00:00:01", ip=ip, hostname="a", vm="x")
        site.do(dhcp([entry]))
    assert [entry.ip for entry in site.host.dhcp["n"].entries.values()] == ["198.18.0.6"]
    site.do(dhcp([DhcpEntry(mac="fa:00:00:00:00:02", ip="198.18.0.6", hostname="b", vm="y")]))
    assert list(site.host.dhcp["n"].entries) == ["fa:00:00:00:00:02"]


def test_only_the_entries_that_are_kept_stay_with_their_metadata_and_names_go_with_the_server() -> None:
    site = Fixture()
    site.do(EnsureBridge(bridge="br0"))
    entries = [DhcpEntry(mac=f"fa:00:00:00:00:0{n}", ip=f"198.18.0.{n}", hostname="a", vm=str(n)) for n in (5, 6)]
    site.do(dhcp(entries, [told("5", "198.18.0.5"), told("6", "198.18.0.6")]))
    site.do(SetNames(network="n", names={"198.18.0.9": "far", "198.18.0.8": "away"}, gone=["198.18.0.8"]))
    site.do(KeepDhcp(macs={"n": ["fa:00:00:00:00:06"]}))
    assert (list(site.host.dhcp["n"].entries), site.told()) == (["fa:00:00:00:00:06"], {"198.18.0.6": "6"})
    assert site.host.dhcp["n"].names == {"198.18.0.9": "far"}
    site.do(KeepDhcp(macs={}))
    assert (site.host.dhcp, site.host.metadata) == ({}, {})
    site.do(SetNames(network="n", names={"198.18.0.9": "far"}))
    assert site.host.dhcp == {}


def test_a_machine_knows_the_hosts_that_it_was_until_it_is_told_to_forget() -> None:
    site = Fixture()
    former: list[list[str]] = []
    for uuid in ("a", "b", "b", "c"):
        found = site.do(Connect(host=uuid))
        assert isinstance(found, HostFacts)
        former.append(found.former)
    assert former == [[], ["a"], ["a"], ["b", "a"]]
    site.do(Forget())
    site.do(Connect(host="d"))
    assert site.host.former == []


def dhcp(entries: list[DhcpEntry], metadata: list[MetadataEntry] | None = None) -> EnsureDhcp:
    return EnsureDhcp(
        network="n",
        bridge="br0",
        dhcp_ip="198.18.0.2",
        netmask="255.255.255.0",
        gateway="198.18.0.1",
        entries=entries,
        metadata=metadata or [],
    )


def test_metadata_address_belongs_to_the_vm_named_last() -> None:
    site = Fixture()
    site.do(EnsureBridge(bridge="br0"))
    for uuid in ("x", "y"):
        site.do(dhcp([], [told(uuid, "198.18.0.5")]))
    assert site.told() == {"198.18.0.5": "y"}
    site.do(dhcp([], [told("y", "198.18.0.6"), told("z", "198.18.0.7")]))
    assert site.told() == {"198.18.0.6": "y", "198.18.0.7": "z"}
    site.do(RemoveDhcp(network="n"))
    assert not site.host.metadata


def test_metadata_goes_with_its_vm_or_when_nothing_is_kept() -> None:
    site = Fixture()
    site.do(EnsureBridge(bridge="br0"))
    site.do(dhcp([], [told("x", "198.18.0.5"), told("y", "198.18.0.6")]))
    site.do(RemoveDhcpEntries(network="n", macs=[], vms=["x"]))
    assert site.told() == {"198.18.0.6": "y"}
    site.do(KeepDhcp(macs={}))
    assert not site.host.metadata


def told(vm: str, ip: str) -> MetadataEntry:
    return MetadataEntry(ip=ip, vm=vm, hostname=vm)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (start(memory=1 << 60), codes.HYPERVISOR),
        (start(memory=0), codes.BAD_REQUEST),
        (start(disks=()), codes.BAD_REQUEST),
        (start(disks=("none",)), codes.MISSING_FILE),
        (start(nics=(Nic(mac="m", bridge="none", device="t"),)), codes.MISSING_BRIDGE),
        (StopVm(vm="x", mode="gently"), codes.BAD_REQUEST),
    ],
)
def test_vm_that_cannot_be_is_refused(command: AgentCommand[Any], code: str) -> None:
    site = Fixture()
    site.volume()
    assert site.refused(command) == code


def test_disk_and_tap_belong_to_one_running_vm() -> None:
    site = Fixture()
    site.volume("a")
    site.volume("b")
    site.do(EnsureBridge(bridge="br0"))
    nic = Nic(mac="fa:00:00:00:00:01", bridge="br0", device="vnic1.0")
    site.do(start("x", ("a",), (nic,)))
    assert site.refused(start("y", ("a",))) == codes.HYPERVISOR
    assert site.refused(start("y", ("b",), (nic,))) == codes.HYPERVISOR
    site.do(StopVm(vm="x"))
    site.do(start("y", ("a",), (nic,)))


def test_crashed_vm_is_listed_and_can_be_started_again() -> None:
    site = Fixture()
    site.volume()
    site.do(start())
    site.host.power_off("x")
    site.host.vms["x"].state = PowerState.CRASHED
    assert site.refused(RebootVm(vm="x")) == codes.VM_NOT_RUNNING
    site.do(start())
    assert site.host.vms["x"].state is PowerState.RUNNING


def test_paused_vm_keeps_what_it_has_until_it_is_off() -> None:
    site = Fixture(Machine(memory_bytes=8 << 30))
    assert site.refused(PauseVm(vm="x")) == codes.VM_NOT_RUNNING
    site.volume()
    site.do(start())
    site.do(PauseVm(vm="x"))
    assert site.refused(start("y")) == codes.HYPERVISOR
    facts = site.do(GetFacts())
    assert isinstance(facts, HostFacts)
    assert facts.available_memory_bytes == 7 << 30
    site.do(start())
    assert site.host.vms["x"].state is PowerState.PAUSED
    site.do(StopVm(vm="x"))
    assert not site.host.taken
    assert site.refused(ResumeVm(vm="x")) == codes.VM_NOT_RUNNING


def test_console_outlives_the_stop_and_not_the_destruction() -> None:
    site = Fixture()
    site.volume()
    site.do(start())
    site.do(RebootVm(vm="x"))
    site.do(StopVm(vm="x"))
    console = site.do(GetConsole(vm="x"))
    assert isinstance(console, vm.Console)
    assert console.text.count("simulated boot of web") == 2
    short = site.do(GetConsole(vm="x", size_bytes=3))
    assert isinstance(short, vm.Console)
    assert len(short.text) == 3
    site.do(DestroyVm(vm="x"))
    assert not site.host.consoles


class AnyOrder(RuleBasedStateMachine):
    """Commands in any order, each twice: the same answer twice, and never an impossible world."""

    names = st.sampled_from(["a", "b", "c"])

    def __init__(self) -> None:
        super().__init__()
        self.site = Fixture()

    def twice(self, command: AgentCommand[Any]) -> None:
        outcomes: list[object] = []
        for _ in range(2):
            try:
                outcomes.append(self.site.do(command))
            except Refused as refused:
                outcomes.append(refused.failure)
        assert outcomes[0] == outcomes[1]

    @rule(name=names, size=st.sampled_from([1, 1 << 30]))
    def create(self, name: str, size: int) -> None:
        self.twice(CreateVolume(path=f"{FOLDER}/{name}", size_bytes=size))

    @rule(name=names)
    def delete(self, name: str) -> None:
        self.twice(DeleteFile(path=f"{FOLDER}/{name}"))

    @rule(uuid=names, disks=st.lists(names, min_size=1, max_size=2, unique=True), bridge=names, device=names)
    def run(self, uuid: str, disks: list[str], bridge: str, device: str) -> None:
        self.twice(start(uuid, tuple(disks), (Nic(mac="m", bridge=bridge, device=device),)))

    @rule(uuid=names)
    def stop(self, uuid: str) -> None:
        self.twice(StopVm(vm=uuid))

    @rule(uuid=names)
    def destroy(self, uuid: str) -> None:
        self.twice(DestroyVm(vm=uuid))

    @rule(uuid=names)
    def pause(self, uuid: str) -> None:
        self.twice(PauseVm(vm=uuid))

    @rule(uuid=names)
    def resume(self, uuid: str) -> None:
        self.twice(ResumeVm(vm=uuid))

    @rule(name=names)
    def bridge(self, name: str) -> None:
        self.twice(EnsureBridge(bridge=name))

    @rule(name=names)
    def unbridge(self, name: str) -> None:
        self.twice(network.RemoveBridge(bridge=name))

    @invariant()
    def running_vms_have_their_own_disks_taps_and_bridges(self) -> None:
        site = self.site.host
        running = {uuid: one for uuid, one in site.vms.items() if one.is_on}
        taken = [disk.path for one in running.values() for disk in one.disks]
        taken += [nic.device for one in running.values() for nic in one.nics]
        assert len(taken) == len(set(taken))
        assert set(taken) == set(site.taken)
        assert all(disk.path in site.volumes for one in running.values() for disk in one.disks)
        assert all(nic.bridge in site.bridges for one in running.values() for nic in one.nics)

    @invariant()
    def disk_usage_is_what_is_on_it(self) -> None:
        site = self.site.host
        files = [*site.volumes.values(), *site.images.values()]
        assert site.used_bytes == (20 << 30) + sum(file.actual_size_bytes for file in files)


AnyOrder.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestAnyOrder = AnyOrder.TestCase
