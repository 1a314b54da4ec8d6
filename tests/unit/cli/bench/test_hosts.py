from __future__ import annotations

import json

import pytest
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fakes import FakeNode

from cairn.cli.bench.hosts import calls, host_values
from cairn.cli.errors import Exit
from cairn.cli.up import simulated
from cairn.cli.up.fixtures import Place
from cairn.cli.up.simulated import SimulatedHost

CLUSTER = "7" * 32


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> str:
    """Three hosts, and a cloud around them that is there."""
    played = [SimulatedHost(name=f"sim-{n}", path=f"/hosts/sim-{n}", address=f"198.18.0.{n}") for n in range(1, 4)]
    monkeypatch.setattr(simulated, "hosts", lambda url: played)
    place = Place(zone="z", cluster=CLUSTER, network="n")
    monkeypatch.setattr(simulated, "fill", lambda *given: (place, "image", "offering"))
    return "http://127.0.0.1:7190/"


def test_hosts_that_the_cloud_lacks_are_added(cli: Cli, node: FakeNode, simulator: str) -> None:
    node.rows["/v1/hosts"] = [{"uuid": "6" * 32, "managementIp": "198.18.0.1"}]

    ran = cli("bench", "hosts", "--count", "2", "--simulator-url", simulator, "--json")

    assert ran.code == Exit.OK, ran.err
    told = json.loads(ran.out)
    assert (told["added"], told["failed"], told["errors"]) == (2, 0, {})
    assert told["cloud"]["hosts"] == 1
    assert told["processes"][-1]["name"] == "bench"
    made = [one.body["params"] for one in node.calls() if one.body]
    urls = {one["url"] for one in made if isinstance(one, dict) and one["clusterUuid"] == CLUSTER}
    assert urls == {f"http://127.0.0.1:7190/hosts/sim-{n}" for n in (2, 3)}


def test_a_host_that_is_refused_is_told(
    cli: Cli, node: FakeNode, simulator: str, capsys: pytest.CaptureFixture[str]
) -> None:
    node.answers["POST", "/v1/hosts/simulators"] = (409, {"code": "host.address-taken"})

    with pytest.raises(SystemExit) as ended:
        cli("bench", "hosts", "--count", "3", "--simulator-url", simulator)

    assert ended.value.code == Exit.REFUSED
    assert "host.address-taken" in capsys.readouterr().out


def test_a_simulator_with_too_few_hosts_is_refused(cli: Cli, simulator: str) -> None:
    ran = cli("bench", "hosts", "--count", "4", "--simulator-url", simulator, "--json")

    assert (ran.code, json.loads(ran.err)["error"]["code"]) == (Exit.REFUSED, "bench.few-hosts")


def test_each_call_has_a_host_and_a_job_of_its_own() -> None:
    host = SimulatedHost(name="sim-1", path="/hosts/sim-1", address="198.18.0.1")

    made = list(calls([host_values(host, CLUSTER, "http://s"), host_values(host, CLUSTER, "http://s")]))

    assert len({call.job for call in made}) == len({call.subject for call in made}) == 2
