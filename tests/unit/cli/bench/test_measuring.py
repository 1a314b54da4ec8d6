from __future__ import annotations

import pytest
from tests.unit.cli.fakes import FakeNode

from cairn.cli.bench.gauge import Process
from cairn.cli.bench.load import Ended
from cairn.cli.bench.measuring import Cloud, check_files, errors, milliseconds, others, show, total
from cairn.cli.client import Client
from cairn.cli.errors import CliError

CLOUD = Cloud(store="sqlite", durable=True, bus="memory", nodes=1, hosts=2, vms=3)


def test_the_other_nodes_are_reached_as_they_advertise(client: Client, node: FakeNode) -> None:
    own = node.url.removeprefix("http://").split(":")
    node.rows["/v1/management-nodes"] = [
        {"uuid": "1", "hostName": own[0], "port": int(own[1])},
        {"uuid": "2", "hostName": "10.0.0.2", "port": 8080},
        {"uuid": "3"},
    ]

    assert others(client) == ["http://10.0.0.2:8080"]
    assert total(client, "ManagementNode") == 3


def test_too_few_files_are_told_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cairn.cli.bench.measuring.open_more", lambda wanted: min(wanted, 1000))
    check_files(900)
    with pytest.raises(CliError) as caught:
        check_files(901)
    assert caught.value.problem.code == "bench.few-files"
    assert "900" in caught.value.problem.detail


def test_the_cloud_and_its_processes_are_told() -> None:
    lines = show(CLOUD, [Process(name="node", cpu_seconds=1.5, peak_memory_bytes=1 << 20)])

    assert lines == {
        "cloud": "2 hosts, 3 VMs; 1 nodes, sqlite (durable), bus: memory",
        "node": "1.50 s of CPU, at most 1 MiB",
    }


def test_errors_are_counted_and_times_may_be_missing() -> None:
    ended = [Ended(kind="k", subject="s", seconds=1.0, error=error) for error in ("a.b", None, "a.b")]

    assert errors(ended) == {"a.b": 2}
    assert milliseconds(1.25, None) == "1.2 ms / -"
