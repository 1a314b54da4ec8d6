from __future__ import annotations

import json

import pytest
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fakes import FakeNode, Json

from cairn.cli.errors import Exit

VMS: list[Json] = [
    {
        "uuid": f"{n}" * 32,
        "name": f"vm-{n}",
        "hostUuid": "6" * 32,
        "clusterUuid": "7" * 32,
        "vmNics": [{"l3NetworkUuid": "3" * 32, "ip": "10.0.0.1"}],
    }
    for n in range(5)
]


@pytest.fixture
def populated(node: FakeNode) -> FakeNode:
    node.rows["/v1/vm-instances"] = VMS
    node.rows["/v1/hosts"] = [{"uuid": "6" * 32, "name": "h"}]
    node.rows["/v1/clusters"] = [{"uuid": "7" * 32, "name": "c"}]
    return node


def test_each_kind_is_told_with_its_times(cli: Cli, populated: FakeNode) -> None:
    ran = cli("bench", "query", "--repeat", "2", "--samples", "1", "--json")
    assert ran.code == Exit.OK, ran.err
    told = json.loads(ran.out)
    assert told["vms"] == 5
    assert {one["asked"] for one in told["queries"]} == {2}
    assert all(one["p50_ms"] <= one["p99_ms"] for one in told["queries"])
    assert [one["name"] for one in told["queries"]][-1] == "page in the middle, by after"
    assert any("CAIRN_BENCH_PASSWORD" in line for line in told["skipped"])


def test_an_account_is_asked_with_its_password(cli: Cli, populated: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAIRN_BENCH_PASSWORD", "secret")
    told = json.loads(cli("bench", "query", "--repeat", "1", "--samples", "1", "--json").out)
    assert told["skipped"] == []
    assert any("account" in one["name"] for one in told["queries"])


def test_an_empty_cloud_is_refused(cli: Cli, node: FakeNode) -> None:
    node.rows["/v1/vm-instances"] = []
    ran = cli("bench", "query", "--json")
    assert (ran.code, json.loads(ran.err)["error"]["code"]) == (Exit.REFUSED, "bench.no-cloud")
