from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.agents.fakes import FakeRunner

from cairn.agents.errors import AgentError
from cairn.agents.kvm.links import Address, Links, Route
from cairn.agents.programs import Completed


def links(tmp_path: Path, **answers: str) -> Links:
    commands = {
        "address": "ip -j address show dev eth0",
        "local": "ip -j -4 address show",
        "routes": "ip -j -4 route show dev eth0",
        "fdb": "bridge -j fdb show dev vx",
    }
    return Links(FakeRunner({commands[name]: Completed(0, text) for name, text in answers.items()}), tmp_path)


def interface(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    (folder / name / "address").write_text("02:00:00:00:00:01\n")
    return folder / name


def test_an_interface_is_there_when_the_kernel_shows_it(tmp_path: Path) -> None:
    interface(tmp_path, "eth0")
    here = links(tmp_path)
    assert (here.exists("eth0"), here.exists("eth1")) == (True, False)
    assert here.mac("eth0") == "02:00:00:00:00:01"


def test_a_bridge_knows_its_ports_and_a_port_its_bridge(tmp_path: Path) -> None:
    bridge, port = interface(tmp_path, "br0"), interface(tmp_path, "eth0")
    (bridge / "bridge").mkdir()
    (bridge / "brif" / "tap1").mkdir(parents=True)
    (bridge / "brif" / "eth0").mkdir()
    (port / "master").symlink_to(bridge)
    here = links(tmp_path)
    assert (here.is_bridge("br0"), here.is_bridge("eth0"), here.is_bridge("none")) == (True, False, False)
    assert (here.ports("br0"), here.ports("eth0"), here.ports("none")) == (["eth0", "tap1"], [], [])
    assert (here.bridge_of("eth0"), here.bridge_of("br0")) == ("br0", None)


async def test_addresses_of_the_link_itself_are_left_out(tmp_path: Path) -> None:
    answer = (
        '[{"ifname":"eth0","addr_info":[{"local":"10.0.0.5","prefixlen":24,"scope":"global","broadcast":"10.0.0.255"},'
        '{"local":"fe80::1","prefixlen":64,"scope":"link"},{"local":"fd00::1","prefixlen":64,"scope":"global"}]},{}]'
    )
    assert await links(tmp_path, address=answer).addresses("eth0") == [
        Address("10.0.0.5", 24, broadcast="10.0.0.255"),
        Address("fd00::1", 64),
    ]
    assert await links(tmp_path).addresses("eth0") == []


async def test_all_addresses_of_the_machine_are_told_those_of_loopback_as_well(tmp_path: Path) -> None:
    answer = (
        '[{"addr_info":[{"local":"127.0.0.1","prefixlen":8,"scope":"host"}]},'
        '{"addr_info":[{"local":"10.0.0.5","prefixlen":24}]}]'
    )
    assert await links(tmp_path, local=answer).local_addresses() == {"127.0.0.1", "10.0.0.5"}


async def test_routes_that_the_kernel_makes_for_addresses_are_left_out(tmp_path: Path) -> None:
    answer = (
        '[{"dst":"default","gateway":"10.0.0.1","metric":100,"protocol":"dhcp"},'
        '{"dst":"10.0.0.0/24","protocol":"kernel","prefsrc":"10.0.0.5"},{"dst":"10.9.0.0/16"}]'
    )
    assert await links(tmp_path, routes=answer).routes("eth0") == [
        Route("default", gateway="10.0.0.1", metric=100, protocol="dhcp"),
        Route("10.9.0.0/16"),
    ]


async def test_peers_are_those_that_broadcasts_go_to(tmp_path: Path) -> None:
    answer = (
        '[{"mac":"00:00:00:00:00:00","dst":"10.0.0.6"},{"mac":"02:00:00:00:00:09","dst":"10.0.0.7"},'
        '{"mac":"00:00:00:00:00:00"}]'
    )
    assert await links(tmp_path, fdb=answer).flooded_peers("vx") == {"10.0.0.6"}


async def test_many_commands_are_one_process_and_failing_ones_are_overlooked_only_when_forced(tmp_path: Path) -> None:
    runner = FakeRunner({"ip -batch -": Completed(1, "", "no"), "ip -force -batch -": Completed(1, "", "no")})
    here = Links(runner, tmp_path)
    await here.batch(["link set a up", "link set b up"], force=True)
    assert runner.stdin == ["link set a up\nlink set b up\n"]
    with pytest.raises(AgentError):
        await here.batch(["link set a up"])
