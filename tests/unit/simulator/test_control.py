"""The simulator's own API, for people and tests."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cairn.agents.protocol.fence import Fence
from cairn.agents.protocol.network import DhcpEntry, EnsureBridge, EnsureDhcp, MetadataEntry
from cairn.agents.protocol.storage import CreateVolume, InitStorage
from cairn.agents.protocol.vm import Disk, Hardware, StartVm
from cairn.agents.protocol.wire import AgentCommand
from cairn.simulator.agents import Commanded, SimulatedAgents
from cairn.simulator.commands import apply
from cairn.simulator.control import Control
from cairn.simulator.world import new_world
from cairn.testing.clock import VirtualClock

HOST = "sim-0001"


class Site:
    def __init__(self) -> None:
        self.agents = SimulatedAgents(new_world(2), VirtualClock())
        self.control = Control(self.agents, lambda: new_world(2))

    def do(self, *commands: AgentCommand[Any]) -> None:
        for command in commands:
            world = self.agents.world
            apply(world, world.hosts[HOST], command.name, msgspec.Raw(msgspec.json.encode(command)))

    def ask(self, method: str, target: str, body: bytes = b"", *, status: int = 200) -> Any:
        found, answer = self.control.handle(method, target, body)
        assert found == status, answer
        return msgspec.json.decode(answer)

    def fill(self) -> None:
        self.do(
            EnsureBridge(bridge="br0"),
            EnsureDhcp(
                network="n",
                bridge="br0",
                dhcp_ip="198.18.0.2",
                netmask="255.255.255.0",
                gateway="198.18.0.1",
                entries=[DhcpEntry(mac="m", ip="198.18.0.5", hostname="a", vm="x")],
                metadata=[MetadataEntry(ip="198.18.0.5", vm="x", hostname="a")],
            ),
            InitStorage(path="/s"),
            CreateVolume(path="/s/a", size_bytes=1),
            StartVm(
                hardware=Hardware(uuid="x", name="x", cpu_num=1, memory_size=1 << 30),
                disks=[Disk(path="/s/a", device_id=0)],
                nics=[],
            ),
        )


def test_inspect_shows_everything_by_host() -> None:
    site = Site()
    site.fill()
    everything = site.ask("GET", "/inspect")
    assert set(everything) == {"backup", "sim-0001", "sim-0002"}
    shown = everything[HOST]
    assert shown["vms"]["x"]["state"] == "Running"
    assert shown["volumes"]["/s/a"]["virtualSizeBytes"] == 1
    assert shown["leases"] == [{"network": "n", "mac": "m", "ip": "198.18.0.5", "hostname": "a", "vm": "x"}]
    assert [(one["network"], one["vm"]) for one in shown["metadata"]] == [("n", "x")]
    assert list(shown["bridges"]) == ["br0"]
    assert shown["images"] == {}
    assert site.ask("GET", f"/inspect?host={HOST}") == {HOST: shown}


def test_summary_counts() -> None:
    site = Site()
    site.fill()
    summary = site.ask("GET", "/inspect/summary")
    ones = {key for key, count in summary.items() if count == 1}
    assert ones == {"vms", "volumes", "bridges", "consoles", "leases", "dhcp", "metadata"}
    assert summary["hosts"] == 2
    assert summary["images"] == summary["backupImages"] == summary["connected"] == 0


def test_dials_are_turned_shown_and_cleared() -> None:
    site = Site()
    shown = site.ask("POST", "/dials", b'[{"errorNext":2},{"host":"sim-0001","dead":true}]')
    assert shown == {"dials": [{"errorNext": 2}, {"host": HOST, "dead": True}]}
    assert site.ask("GET", "/dials") == shown
    assert site.ask("POST", "/dials", b"{}") == {"dials": [{"host": HOST, "dead": True}]}
    assert site.ask("DELETE", "/dials") == {"dials": []}


def test_wrong_dials_change_nothing() -> None:
    site = Site()
    assert "errorRate" in site.ask("POST", "/dials", b'{"errorRate":7}', status=400)["error"]
    site.ask("POST", "/dials", b'[{"dead":true},{"host":"nobody","dead":true}]', status=404)
    assert site.ask("GET", "/dials") == {"dials": []}


def test_vm_is_killed_once() -> None:
    site = Site()
    site.fill()
    site.ask("POST", f"/hosts/{HOST}/kill-vm", b'{"vm":"x"}')
    assert site.ask("GET", "/inspect")[HOST]["vms"]["x"]["state"] == "Crashed"
    site.ask("POST", f"/hosts/{HOST}/kill-vm", b'{"vm":"x"}', status=404)
    site.ask("POST", f"/hosts/{HOST}/kill-vm", b"{}", status=400)
    site.ask("POST", "/hosts/nobody/kill-vm", b'{"vm":"x"}', status=404)


def test_reset_empties_the_world() -> None:
    site = Site()
    site.fill()
    site.ask("POST", "/reset")
    assert site.ask("GET", "/inspect/summary")["vms"] == 0


def test_restart_gives_the_agent_another_boot_id() -> None:
    site = Site()
    before = site.agents.world.hosts[HOST].boot
    site.ask("POST", f"/hosts/{HOST}/restart")
    assert site.agents.world.hosts[HOST].boot != before


def test_hosts_are_listed() -> None:
    listed = Site().ask("GET", "/hosts")
    assert [host["path"] for host in listed] == ["/hosts/backup", "/hosts/sim-0001", "/hosts/sim-0002"]


@pytest.mark.parametrize(("method", "target"), [("GET", "/"), ("PUT", "/dials"), ("POST", f"/hosts/{HOST}/fly")])
def test_what_is_not_known_is_404_with_what_is(method: str, target: str) -> None:
    assert "not known" in Site().ask(method, target, status=404)["error"]


def test_unknown_host_to_inspect_is_404() -> None:
    Site().ask("GET", "/inspect?host=nobody", status=404)


def test_commands_tell_who_gave_them_on_each_host() -> None:
    site = Site()
    for host, task in ((HOST, "t1"), ("sim-0002", "t2")):
        fence = Fence(resource="vm:a", epoch=3, node="n")
        line = Commanded(time=1.0, host=host, command="c", task=task, job=None, fences=(fence,), refused=True)
        site.agents.book.append(line)
    assert [line["task"] for line in site.ask("GET", "/commands")["commands"]] == ["t1", "t2"]
    (shown,) = site.ask("GET", f"/commands?host={HOST}")["commands"]
    assert (shown["host"], shown["refused"]) == (HOST, True)
    assert shown["fences"] == [{"resource": "vm:a", "epoch": 3, "node": "n"}]
    site.ask("POST", "/reset")
    assert site.ask("GET", "/commands") == {"commands": []}
