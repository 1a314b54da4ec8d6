from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tests.unit.agents.fakes import FakeRunner

from cairn.agents.errors import AgentError
from cairn.agents.kvm.bridges import BridgeRecord, Bridges
from cairn.agents.kvm.filters import TunnelFilter
from cairn.agents.kvm.links import Links
from cairn.agents.programs import Completed
from cairn.agents.protocol import codes
from cairn.agents.protocol.network import (
    ChangeVxlanPeers,
    EnsureBridge,
    EnsureVxlan,
    RemoveBridge,
    tunnel_generation,
)
from cairn.agents.state import Records

ADDRESS = '[{"addr_info":[{"local":"198.18.0.5","prefixlen":24,"scope":"global","broadcast":"198.18.0.255"}]}]'
ROUTES = '[{"dst":"default","gateway":"198.18.0.1","metric":100},{"dst":"198.18.0.0/24","protocol":"kernel"}]'
VXLAN = EnsureVxlan(bridge="brv", vni=42, local_ip="198.18.0.5", peers=["198.18.0.5", "198.18.0.6"])


class World:
    def __init__(self, folder: Path) -> None:
        self.net = folder / "net"
        self.runner = FakeRunner(
            {
                "ip -j address show dev eth0": Completed(0, ADDRESS),
                "ip -j -4 route show dev eth0": Completed(0, ROUTES),
                "ip -j -4 address show": Completed(0, ADDRESS),
            }
        )
        self.interface("eth0")
        self.records = Records(folder / "bridges", BridgeRecord)
        self.bridges = Bridges(Links(self.runner, self.net), self.records, ("cfd",), TunnelFilter(self.runner))

    def interface(self, name: str, *, bridge: bool = False, ports: tuple[str, ...] = ()) -> None:
        (self.net / name).mkdir(parents=True, exist_ok=True)
        (self.net / name / "address").write_text("02:00:00:00:00:05\n")
        if bridge:
            (self.net / name / "bridge").mkdir(exist_ok=True)
            for port in ports:
                (self.net / name / "brif" / port).mkdir(parents=True)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def refused(call: object, code: str) -> str:
    with pytest.raises(AgentError) as caught:
        await call  # type: ignore[misc]
    assert caught.value.code == code
    return caught.value.message


async def test_physical_port_gives_its_addresses_and_then_its_routes_to_the_bridge(world: World) -> None:
    await world.bridges.ensure_bridge(EnsureBridge(bridge="br0", physical_interface="eth0"))
    assert world.runner.batches[-5:] == [
        "link set dev br0 address 02:00:00:00:00:05",
        "link set dev eth0 up master br0",
        "address delete 198.18.0.5/24 dev eth0",
        "address add 198.18.0.5/24 broadcast 198.18.0.255 dev br0",
        "route replace default via 198.18.0.1 dev br0 metric 100",
    ]
    assert world.bridges.uplink("br0") == "eth0"


async def test_move_that_fails_is_taken_back(world: World) -> None:
    class Failing(FakeRunner):
        async def run(self, argv, *, stdin="", check=True, timeout_seconds=60.0):  # type: ignore[no-untyped-def]
            done = await super().run(argv, stdin=stdin, check=check)
            if check and "master br0" in stdin:
                raise AgentError(codes.COMMAND_FAILED, "no")
            return done

    world.bridges = Bridges(
        Links(Failing(world.runner.answers), world.net), world.records, ("cfd",), TunnelFilter(world.runner)
    )
    runner = world.bridges._links.runner
    await refused(
        world.bridges.ensure_bridge(EnsureBridge(bridge="br0", physical_interface="eth0")), codes.COMMAND_FAILED
    )
    assert isinstance(runner, Failing)
    assert "address add 198.18.0.5/24 broadcast 198.18.0.255 dev eth0" in runner.batches
    assert list(world.records) == []


async def test_bridge_that_is_there_is_only_set_up_again(world: World) -> None:
    world.interface("br0", bridge=True, ports=("eth0",))
    (world.net / "eth0" / "master").symlink_to(world.net / "br0")
    await world.bridges.ensure_bridge(EnsureBridge(bridge="br0", physical_interface="eth0"))
    assert world.runner.batches == ["link set dev br0 mtu 1500 up"]


async def test_missing_and_taken_interfaces_are_named(world: World) -> None:
    missing = EnsureBridge(bridge="br0", physical_interface="eth7")
    assert "eth7" in await refused(world.bridges.ensure_bridge(missing), codes.MISSING_INTERFACE)
    world.interface("other", bridge=True, ports=("eth0",))
    (world.net / "eth0" / "master").symlink_to(world.net / "other")
    taken = EnsureBridge(bridge="br0", physical_interface="eth0")
    assert "other" in await refused(world.bridges.ensure_bridge(taken), codes.BUSY)


async def test_vxlan_floods_to_its_peers_but_not_to_itself(world: World) -> None:
    world.runner.answers["bridge -j fdb"] = Completed(
        0, '[{"mac":"00:00:00:00:00:00","dst":"198.18.0.9"},{"mac":"fa:00:00:00:00:01","dst":"198.18.0.9"}]'
    )
    await world.bridges.ensure_vxlan(VXLAN)
    assert "link add vx42 type vxlan id 42 local 198.18.0.5 dstport 4789" in world.runner.batches
    changes = [line for line in world.runner.ran if line.startswith("bridge fdb")]
    assert changes == [
        "bridge fdb append 00:00:00:00:00:00 dev vx42 dst 198.18.0.6 self permanent",
        "bridge fdb del 00:00:00:00:00:00 dev vx42 dst 198.18.0.9 self permanent",
        "bridge fdb flush dev vx42 self dynamic",
    ]


def changed(add: list[str], remove: list[str], ends: list[str], **more: str) -> ChangeVxlanPeers:
    fields = {"bridge": "brv", "local_ip": "198.18.0.5", **more}
    return ChangeVxlanPeers(add=add, remove=remove, generation=tunnel_generation(ends), **fields)


async def test_peers_that_come_and_go_are_the_only_ones_that_are_changed_and_are_remembered(world: World) -> None:
    await world.bridges.ensure_vxlan(VXLAN)
    world.interface("vx42")
    world.runner.answers["bridge -j fdb"] = Completed(0, '[{"mac":"00:00:00:00:00:00","dst":"198.18.0.6"}]')
    world.runner.ran.clear()
    for _ in range(2):
        change = changed(["198.18.0.7"], ["198.18.0.6"], ["198.18.0.7", "198.18.0.5"])
        assert (await world.bridges.change_peers(change)).fitted
    appended = "bridge fdb append 00:00:00:00:00:00 dev vx42 dst 198.18.0.7 self permanent"
    assert {line for line in world.runner.ran if line.startswith("bridge fdb append")} == {appended}
    assert "udp dport 4789 ip saddr { 198.18.0.7 } accept" in [line.strip() for line in world.runner.batches]
    (saved,) = world.records
    assert saved.vxlan is not None and saved.vxlan.peers == ["198.18.0.7"]


@pytest.mark.parametrize(
    "change",
    [
        changed(["198.18.0.7"], [], ["198.18.0.5", "198.18.0.7"]),
        changed([], [], ["198.18.0.5"]),
        changed(["198.18.0.7"], [], ["198.18.0.5", "198.18.0.6", "198.18.0.7"], bridge="brw"),
        changed(["198.18.0.5"], [], ["198.18.0.5", "198.18.0.6"], local_ip="198.18.0.6"),
    ],
    ids=["other peers", "more peers", "another bridge", "another address of its own"],
)
async def test_changes_of_peers_that_do_not_fit_change_nothing(world: World, change: ChangeVxlanPeers) -> None:
    await world.bridges.ensure_vxlan(VXLAN)
    world.interface("vx42")
    before = list(world.records)
    world.runner.ran.clear()
    assert not (await world.bridges.change_peers(change)).fitted
    assert (world.runner.ran, list(world.records)) == ([], before)


async def test_changes_of_peers_do_not_fit_where_the_port_is_gone(world: World) -> None:
    await world.bridges.ensure_vxlan(VXLAN)
    assert not (await world.bridges.change_peers(changed([], [], ["198.18.0.5", "198.18.0.6"]))).fitted


async def test_vxlan_needs_its_local_address_and_a_valid_vni(world: World) -> None:
    elsewhere = EnsureVxlan(bridge="brv", vni=42, local_ip="198.18.0.99", peers=[])
    assert "198.18.0.99" in await refused(world.bridges.ensure_vxlan(elsewhere), codes.MISSING_INTERFACE)
    for vni in (0, 1 << 24):
        wrong = EnsureVxlan(bridge="brv", vni=vni, local_ip="198.18.0.5", peers=[])
        await refused(world.bridges.ensure_vxlan(wrong), codes.BAD_REQUEST)


async def test_bridge_with_vms_is_not_removed_but_one_with_only_our_own_ports_is(world: World) -> None:
    await world.bridges.ensure_vxlan(VXLAN)
    world.interface("brv", bridge=True, ports=("vx42", "cfdabc", "vnic1.0"))
    world.interface("vx42")
    assert "vnic1.0" in await refused(world.bridges.remove(RemoveBridge(bridge="brv")), codes.BUSY)
    (world.net / "brv" / "brif" / "vnic1.0").rmdir()
    await world.bridges.remove(RemoveBridge(bridge="brv"))
    removed = [line for line in world.runner.batches if line.startswith("link delete")]
    assert removed == ["link delete dev vx42", "link delete dev brv"]
    assert world.runner.batches[-2:] == ["add table inet cairn_tunnels", "delete table inet cairn_tunnels"]
    assert list(world.records) == []


async def test_tunnels_port_takes_packets_from_the_peers_of_all_tunnels_before_there_is_a_port(world: World) -> None:
    await world.bridges.ensure_vxlan(VXLAN)
    other = msgspec.structs.replace(VXLAN, bridge="brw", vni=43, peers=["198.18.0.9"])
    await world.bridges.ensure_vxlan(other)
    lines = [line.strip() for line in world.runner.batches]
    assert "udp dport 4789 ip saddr { 198.18.0.6, 198.18.0.9 } accept" in lines
    made = lines.index("link add vx42 type vxlan id 42 local 198.18.0.5 dstport 4789")
    assert lines.index("udp dport 4789 drop") < made


async def test_removing_what_is_not_there_is_success(world: World) -> None:
    await world.bridges.remove(RemoveBridge(bridge="br0"))
    assert world.runner.ran == []


async def test_bridges_are_made_again_after_the_machine_was_booted(world: World) -> None:
    await world.bridges.ensure_bridge(EnsureBridge(bridge="br0"))
    await world.bridges.ensure_vxlan(VXLAN)
    world.runner.stdin.clear()
    await world.bridges.restore()
    made = [line for line in world.runner.batches if line.startswith("link add")]
    assert [line.split()[2:4] for line in made] == [["name", "br0"], ["name", "brv"], ["vx42", "type"]]


async def test_whoever_depends_on_a_bridge_is_told_of_a_change(world: World) -> None:
    told: list[str] = []

    async def changed(bridge: str) -> None:
        told.append(bridge)

    world.bridges.changed = changed
    await world.bridges.ensure_bridge(EnsureBridge(bridge="br0"))
    assert told == ["br0"]
