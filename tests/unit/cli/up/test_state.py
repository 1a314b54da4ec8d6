from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import msgspec
import pytest
from tests.unit.cli.fakes import FakeNode
from tests.unit.cli.up.test_holder import working

from cairn.cli.client import Client, Page
from cairn.cli.up.broker import BrokerPorts
from cairn.cli.up.cluster import Plan
from cairn.cli.up.daemon import Daemon
from cairn.cli.up.node import NodeProcess
from cairn.cli.up.state import Program, State, look
from cairn.kernel.error import CairnError
from cairn.lab.lab import Lab

NOWHERE = "http://127.0.0.1:9"


class BrokenLab:
    def hosts(self) -> list[object]:
        raise CairnError("lab.broken", "no")


def state(data: Path, client: Client, url: str, lab: Lab | None = None) -> State:
    return look(data, client, lab, NodeProcess(data, url, os.environ))


def test_where_nothing_runs_all_is_empty(tmp_path: Path, client: Client) -> None:
    found = state(tmp_path, client, NOWHERE)
    assert found.is_empty
    assert (found.counts, found.trouble) == ({}, "")


def test_a_node_that_answers_is_counted_by_the_states_of_its_schema(
    tmp_path: Path, client: Client, node: FakeNode
) -> None:
    client.log_in("admin", "secret")
    found = state(tmp_path, client, node.url)
    assert not found.is_empty
    assert found.node.running
    assert set(found.counts) == {"Zone", "Host", "VmInstance"}
    asked = [one.query["q"] for one in node.seen if one.path == "/v1/vm-instances"]
    assert asked == [["state=Running"], ["state=Stopped"]]
    assert found.events_set_aside == 0


def test_events_that_wait_for_somebody_are_counted(
    tmp_path: Path, client: Client, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.log_in("admin", "secret")
    real = Client.query

    def query(self: Client, entity: str, conditions: Sequence[str], *, options: Sequence[tuple[str, str]] = ()) -> Page:
        if entity == "EventDelivery":
            assert conditions == ["state=SetAside"]
            return Page(total=3)
        return real(self, entity, conditions, options=options)

    monkeypatch.setattr(Client, "query", query)
    assert state(tmp_path, client, node.url).events_set_aside == 3


def test_certificates_that_should_have_been_renewed_are_told(tmp_path: Path, node: FakeNode, client: Client) -> None:
    found = [{"holder": "node", "ending": 0}, {"holder": "host", "ending": 3}]
    node.answers["GET", "/v1/certificates"] = (200, {"inventories": found})
    assert state(tmp_path, client, node.url).certificates == {"host": 3}


def test_plugins_with_something_wrong_are_told_and_those_that_were_disabled_are_not(
    tmp_path: Path, client: Client, node: FakeNode
) -> None:
    client.log_in("admin", "secret")
    found = [
        {"name": "kvm", "state": "LeftOut", "reason": "it is named in plugins_disabled"},
        {"name": "bad", "state": "LeftOut", "reason": "it cannot be built: no"},
        {"name": "good", "state": "Loaded", "doc": "x"},
    ]
    node.answers["GET", "/v1/plugins"] = (200, {"inventories": found})
    assert state(tmp_path, client, node.url).plugins == {"bad": "it cannot be built: no"}


def test_a_node_that_refuses_is_told_as_trouble(tmp_path: Path, client: Client, node: FakeNode) -> None:
    node.password = "other"
    found = state(tmp_path, client, node.url)
    assert found.node.running
    assert (found.counts, bool(found.trouble)) == ({}, True)


def test_a_node_that_was_started_by_hand_is_told(tmp_path: Path, client: Client) -> None:
    with working(tmp_path, "cairn", "serve") as process:
        found = state(tmp_path, client, NOWHERE)
    assert (found.node.running, found.node.pid, found.node.log) == (True, process.pid, "")


def test_a_process_that_takes_no_calls_yet_is_told(tmp_path: Path, client: Client) -> None:
    daemon = Daemon("node", tmp_path)
    daemon.start([sys.executable, "-c", "import signal; signal.pause()"], os.environ, NOWHERE)
    try:
        found = state(tmp_path, client, NOWHERE)
        assert found.node.pid is not None
        assert found.node.log.endswith(".log")
        assert "does not take calls (yet)" in found.trouble
    finally:
        daemon.stop()
    assert state(tmp_path, client, NOWHERE).node == Program(running=False, url=NOWHERE)


def test_a_lab_that_cannot_be_looked_at_has_no_hosts(
    tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user in (0, 1000):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        assert state(tmp_path, client, NOWHERE, cast("Lab", BrokenLab())).lab == []


def test_parts_of_a_cloud_of_several_nodes_are_told_and_those_that_are_dead(tmp_path: Path, client: Client) -> None:
    ports = BrokerPorts(broker=1, names=2, distribution=3)
    plan = Plan(ports={1: 20001, 2: 20002}, broker=ports, own_database=True, own_broker=True)
    (tmp_path / "cluster.json").write_bytes(msgspec.json.encode(plan))
    daemon = Daemon("node-2", tmp_path)
    daemon.start([sys.executable, "-c", "import signal; signal.pause()"], os.environ, "http://127.0.0.1:20002")
    try:
        found = state(tmp_path, client, NOWHERE)
    finally:
        daemon.stop(0)
    assert not found.is_empty
    assert {name: part.running for name, part in found.parts.items()} == {
        "proxy": False,
        "node 2": True,
        "node 1": False,
        "broker": False,
        "database": False,
    }
    assert found.parts["node 2"].url == "http://127.0.0.1:20002"
    assert "proxy, node 1, broker, database" in found.trouble
