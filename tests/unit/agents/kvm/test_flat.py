from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
import msgspec
import pytest
from tests.unit.agents.fakes import FakeRunner, RushingClock

from cairn.agents.errors import AgentError
from cairn.agents.kvm.bridges import BridgeRecord, Bridges
from cairn.agents.kvm.filters import TunnelFilter
from cairn.agents.kvm.flat import Flat
from cairn.agents.kvm.flat_config import FlatNetwork
from cairn.agents.kvm.links import Links
from cairn.agents.kvm.metadata_server import NamespaceSockets
from cairn.agents.protocol import codes
from cairn.agents.protocol.names import digests
from cairn.agents.protocol.network import (
    CompareNames,
    DhcpEntry,
    EnsureDhcp,
    KeepDhcp,
    MetadataEntry,
    RemoveDhcp,
    RemoveDhcpEntries,
    SetNames,
)
from cairn.agents.state import Records

L3 = "ab" * 16
VM = "cd" * 16


class LoopbackSockets(NamespaceSockets):
    """Listens on loopback in place of a name space."""

    def __init__(self) -> None:
        self.ports: list[int] = []

    def namespace(self, name: str) -> Path | None:
        return None

    async def listen(self, namespace: str) -> socket.socket:
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        listening.setblocking(False)
        listening.listen(8)
        self.ports.append(listening.getsockname()[1])
        return listening


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runner = FakeRunner()
        (folder / "net" / "br0" / "bridge").mkdir(parents=True, exist_ok=True)
        links = Links(self.runner, folder / "net")
        self.sockets = LoopbackSockets()
        self.records = Records(folder / "networks", FlatNetwork)
        self.flat = Flat(
            links=links,
            bridges=Bridges(links, Records(folder / "bridges", BridgeRecord), (), TunnelFilter(self.runner)),
            runner=self.runner,
            records=self.records,
            folder=folder / "dhcp",
            clock=RushingClock(),
            sockets=self.sockets,
            proc=folder / "proc",
            netns=folder / "netns",
        )

    def files(self) -> list[str]:
        folder = self.folder / "dhcp" / L3
        return sorted(p.name for p in folder.iterdir()) if folder.exists() else []

    def ran(self, beginning: str) -> int:
        return sum(line.startswith(beginning) for line in self.runner.ran)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    await made.flat.remove_all()


def entry(number: int) -> DhcpEntry:
    return DhcpEntry(mac=f"fa:00:00:00:00:0{number}", ip=f"10.0.0.1{number}", hostname=f"web{number}", vm=VM)


def command(*entries: DhcpEntry, bridge: str = "br0", metadata: Sequence[MetadataEntry] = ()) -> EnsureDhcp:
    return EnsureDhcp(
        network=L3,
        bridge=bridge,
        dhcp_ip="10.0.0.2",
        netmask="255.255.255.0",
        gateway="10.0.0.1",
        entries=list(entries),
        metadata=list(metadata),
    )


def metadata(ip: str = "127.0.0.1") -> MetadataEntry:
    return MetadataEntry(ip=ip, vm=VM, hostname="web1")


async def test_server_is_built_in_a_name_space_of_its_own(world: World) -> None:
    await world.flat.ensure(command(entry(1)))
    lines = world.runner.batches
    assert f"netns add cairn-{L3}" in lines
    assert "address replace 10.0.0.2/24 dev eth0" in lines
    assert "address replace 169.254.169.254/32 dev eth0" in lines
    assert world.ran(f"ip netns exec cairn-{L3} dnsmasq") == 1
    assert world.files() == ["dnsmasq.conf", "hosts", "inside", "names", "own"]


async def test_missing_bridge_is_refused_and_nothing_is_remembered(world: World) -> None:
    with pytest.raises(AgentError) as caught:
        await world.flat.ensure(command(entry(1), bridge="br7"))
    assert caught.value.code == codes.MISSING_BRIDGE
    assert list(world.records) == []


async def test_last_entry_takes_the_server_away(world: World) -> None:
    await world.flat.ensure(command(entry(1), entry(2)))
    await world.flat.remove_entries(RemoveDhcpEntries(network=L3, macs=["FA:00:00:00:00:01"]))
    assert (world.folder / "dhcp" / L3 / "hosts").read_text() == "fa:00:00:00:00:02,set:default,10.0.0.12\n"
    for _ in range(2):
        await world.flat.remove_entries(RemoveDhcpEntries(network=L3, macs=["fa:00:00:00:00:02"]))
    assert world.files() == []
    assert list(world.records) == []


async def test_what_should_be_is_remembered_over_a_restart(world: World) -> None:
    await world.flat.ensure(command(entry(1), metadata=[metadata()]))
    again = World(world.folder)
    assert [n.metadata["127.0.0.1"].hostname for n in again.records] == ["web1"]
    await again.flat._check(L3, set())
    assert again.ran(f"ip netns exec cairn-{L3} dnsmasq") == 1
    await again.flat.remove_all()


async def test_metadata_is_answered_by_address_while_it_is_set(world: World) -> None:
    await world.flat.ensure(command(entry(1)))
    async with aiohttp.ClientSession() as session:
        found: list[tuple[int, str]] = []
        for change in (
            None,
            world.flat.ensure(command(metadata=[metadata()])),
            world.flat.remove_entries(RemoveDhcpEntries(network=L3, macs=[], vms=[VM])),
        ):
            if change is not None:
                await change
            url = f"http://127.0.0.1:{world.sockets.ports[-1]}/latest/meta-data/hostname"
            async with session.get(url) as response:
                found.append((response.status, await response.text()))
    assert found == [(404, "not found\n"), (200, "web1"), (404, "not found\n")]


async def test_removing_what_is_not_there_is_success(world: World) -> None:
    await world.flat.remove(RemoveDhcp(network=L3))
    await world.flat.remove_entries(RemoveDhcpEntries(network=L3, macs=[], vms=[VM]))
    assert list(world.records) == []


async def test_another_address_of_the_server_is_configured_in_place_of_the_former_one(world: World) -> None:
    await world.flat.ensure(command(entry(1)))
    (world.folder / "netns").mkdir()
    (world.folder / "netns" / f"cairn-{L3}").touch()
    (world.folder / "net" / f"cfd{L3[:12]}").mkdir()
    for address, lines in (
        ("10.0.0.2", []),
        ("10.0.0.9", ["address flush dev eth0", "address replace 10.0.0.9/24 dev eth0"]),
    ):
        before = len(world.runner.batches)
        await world.flat.ensure(msgspec.structs.replace(command(entry(1)), dhcp_ip=address))
        assert [line for line in world.runner.batches[before:] if "flush" in line or "10.0.0." in line] == lines
    world.folder.joinpath("netns", f"cairn-{L3}").unlink()


async def test_only_what_is_kept_stays(world: World) -> None:
    await world.flat.ensure(command(entry(1), entry(2), metadata=[metadata("10.0.0.11"), metadata("10.0.0.12")]))
    ran = len(world.runner.ran)
    await world.flat.keep(KeepDhcp(macs={L3: [entry(1).mac, entry(2).mac]}))
    assert len(world.runner.ran) == ran, "what is as it should be is left alone"
    await world.flat.keep(KeepDhcp(macs={L3: [entry(2).mac]}))
    (kept,) = world.records
    assert (list(kept.entries), list(kept.metadata)) == ([entry(2).mac], ["10.0.0.12"])
    await world.flat.keep(KeepDhcp(macs={}))
    assert (list(world.records), world.files()) == ([], [])


async def test_names_of_other_machines_are_answered_as_long_as_there_is_a_server(world: World) -> None:
    await world.flat.set_names(SetNames(network=L3, names={"10.0.0.50": "far"}))
    assert list(world.records) == []
    await world.flat.ensure(command(entry(1)))
    await world.flat.set_names(SetNames(network=L3, names={"10.0.0.50": "far", "10.0.0.51": "away"}))
    await world.flat.set_names(SetNames(network=L3, gone=["10.0.0.51"]))
    assert (world.folder / "dhcp" / L3 / "names").read_text() == "10.0.0.11 web1\n10.0.0.50 far\n"
    await world.flat.set_names(SetNames(network=L3, names={"10.0.0.52": "new"}, only=True))
    assert (world.folder / "dhcp" / L3 / "names").read_text() == "10.0.0.11 web1\n10.0.0.52 new\n"
    told = await world.flat.compare_names(CompareNames(network=L3, buckets=3))
    assert told.digests == digests({"10.0.0.52": "NEW"}, 3)
    with pytest.raises(AgentError, match="1 to 1024 would fit"):
        await world.flat.compare_names(CompareNames(network=L3, buckets=0))
    left = await world.flat.remove_entries(RemoveDhcpEntries(network=L3, macs=[entry(1).mac]))
    assert not left.served
    assert (await world.flat.compare_names(CompareNames(network=L3, buckets=3))).digests == []
