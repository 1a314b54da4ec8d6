from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from cairn.cli.errors import CliError
from cairn.cli.up import cluster as module
from cairn.cli.up.broker import BrokerPorts, BrokerProcess
from cairn.cli.up.cluster import Cluster, Plan, daemon_of, folder_of, programs, read, variables
from cairn.cli.up.daemon import Daemon
from cairn.cli.up.database import DatabaseProcess
from cairn.cli.up.front import FrontProcess, Side
from cairn.cli.up.node import NodeProcess
from cairn.cli.up.programs import free_port
from cairn.cli.up.report import Report


class Machine:
    """What was started on it, and stopped; nothing is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.did: list[str] = []
        self.running: set[str] = set()
        self.environments: dict[str, dict[str, str]] = {}
        self.sides: Sequence[Side] = ()
        monkeypatch.setattr(module, "require", lambda programs, environment: self.did.append(f"need {len(programs)}"))
        for process, name in ((DatabaseProcess, "database"), (BrokerProcess, "broker")):
            monkeypatch.setattr(process, "begin", lambda one, name=name: self._start(name))
            monkeypatch.setattr(process, "finish", lambda one: None)
        monkeypatch.setattr(NodeProcess, "begin", lambda node, inside="": self._begin(node, inside))
        monkeypatch.setattr(NodeProcess, "ensure", lambda node, inside="": self._begin(node, inside))
        monkeypatch.setattr(NodeProcess, "finish", lambda node: None)
        monkeypatch.setattr(NodeProcess, "is_ready", lambda node: True)
        monkeypatch.setattr(FrontProcess, "ensure", lambda front, sides, url: self._front(sides))
        monkeypatch.setattr(Daemon, "stop", lambda daemon, patience=0: self._stop(daemon, patience))

    def _start(self, name: str) -> bool:
        started = name not in self.running
        self.running.add(name)
        if started:
            self.did.append(f"start {name}")
        return started

    def _begin(self, node: NodeProcess, inside: str) -> bool:
        name = node.daemon.name
        self.environments[name] = {**node._environment, **node._settings(inside)}
        return self._start(name)

    def _front(self, sides: Sequence[Side]) -> bool:
        self.sides = sides
        return self._start("front")

    def _stop(self, daemon: Daemon, patience_seconds: float) -> bool:
        self.did.append(f"stop {daemon.name} within {patience_seconds:g} s")
        self.running.discard(daemon.name)
        return True


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def cluster(folder: Path, wanted: int, **environment: str) -> Cluster:
    folder.mkdir(exist_ok=True)
    made = Cluster(folder, f"http://127.0.0.1:{free_port(set())}", environment, wanted)
    made.check()
    return made


def plan_of(folder: Path) -> Plan:
    plan = read(folder)
    assert plan is not None
    return plan


def test_nodes_share_what_is_started_for_them_and_have_folders_and_ports_of_their_own(
    tmp_path: Path, machine: Machine
) -> None:
    cluster(tmp_path, 3).up(Report(None))
    assert machine.did == [
        "need 4",
        "start broker",
        "start database",
        "start node",
        "start node-2",
        "start node-3",
        "start front",
    ]
    of = [machine.environments[name] for name in ("node", "node-2", "node-3")]
    assert [one["CAIRN_DATA_DIR"] for one in of] == [str(folder_of(tmp_path, number)) for number in (1, 2, 3)]
    assert folder_of(tmp_path, 1) == tmp_path
    for name in ("CAIRN_DATABASE", "CAIRN_BROKER", "CAIRN_BROKER_PASSWORD_FILE", "CAIRN_SECRET_KEY_FILE"):
        assert len({one[name] for one in of}) == 1
    assert len({one["CAIRN_LISTEN"] for one in of}) == 3
    assert {one["CAIRN_TRUSTED_PROXIES"] for one in of} == {"127.0.0.1"}
    (side,) = machine.sides
    assert [f"127.0.0.1:{port}" for _, port in side.nodes.values()] == [one["CAIRN_LISTEN"] for one in of]


def test_hosts_reach_all_nodes_and_come_to_the_api_by_the_proxy(tmp_path: Path, machine: Machine) -> None:
    cluster(tmp_path, 2).up(Report(None), "127.0.0.3")
    listening = [machine.environments[name]["CAIRN_AGENT_LISTEN"] for name in ("node", "node-2")]
    assert listening == ["127.0.0.3:8443", "127.0.0.3:8444"]
    assert [side.address[0] for side in machine.sides] == ["127.0.0.1", "127.0.0.3"]
    assert [port for _, port in machine.sides[0].nodes.values()] == [
        port for _, port in machine.sides[1].nodes.values()
    ]


@pytest.mark.parametrize(
    ("host", "setting", "tls"),
    [
        ("127.0.0.1", "auto", False),
        ("10.0.0.1", "auto", True),
        ("127.0.0.1", "always", True),
        ("10.0.0.1", "never", False),
    ],
)
def test_the_proxy_passes_through_where_nodes_speak_tls(tmp_path: Path, host: str, setting: str, tls: bool) -> None:
    made = Cluster(tmp_path, f"http://{host}:8080", {"CAIRN_TLS": setting}, 1)
    ports = BrokerPorts(broker=1, names=2, distribution=3)
    (side,) = made._sides(Plan(ports={1: 20001}, broker=ports, own_database=True, own_broker=True), "")
    assert side.tls is tls


def test_a_second_run_starts_what_is_missing_on_the_same_ports(tmp_path: Path, machine: Machine) -> None:
    cluster(tmp_path, 3).up(Report(None))
    before = plan_of(tmp_path)
    machine.running.discard("node-2")
    machine.did.clear()
    cluster(tmp_path, 3).up(Report(None))
    assert [did for did in machine.did if did.startswith("start")] == ["start node-2"]
    assert plan_of(tmp_path) == before


def test_more_nodes_are_added_and_those_too_many_leave_with_time_to_hand_on(tmp_path: Path, machine: Machine) -> None:
    cluster(tmp_path, 1).up(Report(None))
    cluster(tmp_path, 3).up(Report(None))
    first = plan_of(tmp_path).ports
    assert sorted(first) == [1, 2, 3]
    folder_of(tmp_path, 3).mkdir(parents=True)
    machine.did.clear()
    cluster(tmp_path, 1, CAIRN_DRAIN_SECONDS="40").up(Report(None))
    assert machine.did[1:] == ["stop node-3 within 70 s", "stop node-2 within 70 s"]
    assert plan_of(tmp_path).ports == {1: first[1]}
    assert not folder_of(tmp_path, 3).exists()
    assert list(machine.sides[0].nodes) == [1]


def test_what_settings_name_is_not_started_and_what_is_one_nodes_own_is_not_shared(
    tmp_path: Path, machine: Machine
) -> None:
    given = {
        "CAIRN_DATABASE": "mysql://cairn@db/cairn",
        "CAIRN_BROKER": "amqps://cairn:x@mq/cloud",
        "CAIRN_NODE": "a" * 32,
        "CAIRN_METRICS_LISTEN": "127.0.0.1:9100",
        "CAIRN_SECRET_KEY_FILE": "/keys/secret.key",
    }
    cluster(tmp_path, 2, **given).up(Report(None))
    assert machine.did == ["need 1", "start node", "start node-2", "start front"]
    one, two = machine.environments["node"], machine.environments["node-2"]
    assert (one["CAIRN_DATABASE"], two["CAIRN_BROKER"]) == (given["CAIRN_DATABASE"], given["CAIRN_BROKER"])
    assert two["CAIRN_SECRET_KEY_FILE"] == "/keys/secret.key"
    assert ("CAIRN_NODE" in one, "CAIRN_NODE" in two) == (True, False)
    assert ("CAIRN_METRICS_LISTEN" in one, "CAIRN_METRICS_LISTEN" in two) == (True, False)
    assert list(programs(tmp_path)) == ["proxy", "node 2", "node 1", "broker", "database"]


def test_a_cloud_on_sqlite_stays_one_of_one_node(tmp_path: Path, machine: Machine) -> None:
    (tmp_path / "cairn.db").write_text("")
    with pytest.raises(CliError, match="cairn down") as caught:
        cluster(tmp_path, 3)
    assert caught.value.problem.code == "up.one-node-database"
    with pytest.raises(CliError, match="a file is for one node"):
        cluster(tmp_path / "new", 3, CAIRN_DATABASE=str(tmp_path / "my.db"))
    assert machine.did == []


def test_database_and_broker_cannot_be_changed_by_the_way(tmp_path: Path, machine: Machine) -> None:
    cluster(tmp_path, 2).up(Report(None))
    with pytest.raises(CliError, match="Set them as they were") as caught:
        cluster(tmp_path, 2, CAIRN_DATABASE="mysql://cairn@db/cairn")
    assert caught.value.problem.code == "up.other-database"


def test_address_of_another_program_is_refused_before_anything_is_started(tmp_path: Path, machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CliError, match="--url") as caught:
            Cluster(tmp_path, f"http://127.0.0.1:{port}", {}, 2).check()
    assert caught.value.problem.code == "up.address-taken"


def test_a_folder_without_a_plan_has_no_programs_of_several_nodes(tmp_path: Path) -> None:
    assert (read(tmp_path), programs(tmp_path)) == (None, {})
    (tmp_path / "cluster.json").write_text("half")
    assert read(tmp_path) is None
    assert [daemon_of(tmp_path, number).name for number in (1, 2)] == ["node", "node-2"]


def test_variables_lead_tools_to_the_database_that_was_started(tmp_path: Path, machine: Machine) -> None:
    cluster(tmp_path, 2).up(Report(None))
    found = variables(tmp_path, plan_of(tmp_path), {})
    assert found["CAIRN_DATABASE"].endswith("/mariadb/socket")
    assert found["CAIRN_SECRET_KEY_FILE"] == str(tmp_path / "secret.key")
