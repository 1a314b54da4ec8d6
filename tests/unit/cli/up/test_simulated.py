from __future__ import annotations

import socket
from pathlib import Path

import pytest
from tests.unit.cli.up.fakes import FakeCloud
from tests.unit.cli.up.test_real import FakeNode

from cairn.cli.errors import CliError
from cairn.cli.up import simulated
from cairn.cli.up.report import Report
from cairn.cli.up.simulated import SimulatedCloud, SimulatorProcess
from cairn.testing.simulator import running_simulator


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


def test_cloud_is_made_on_the_simulators_hosts(tmp_path: Path) -> None:
    api = FakeCloud()
    with running_simulator(hosts=3) as running:
        simulator = SimulatorProcess(tmp_path, _port(running.base_url), {})
        cloud = SimulatedCloud(simulator, FakeNode(), api, Report(None), tmp_path / "data")
        outcome = cloud.up(2)
        cloud.up(2)
    assert outcome.host == "sim-0001"
    assert [host["url"] for host in api.rows["Host"]] == [f"{running.base_url}/hosts/sim-000{n}" for n in (1, 2)]
    assert len({host["managementIp"] for host in api.rows["Host"]}) == 2
    assert api.rows["BackupStorage"][0]["url"] == f"{running.base_url}/hosts/backup"
    assert len(api.rows["VmInstance"]) == 1


def test_more_hosts_than_the_simulator_plays_is_told(tmp_path: Path) -> None:
    with running_simulator(hosts=1) as running:
        simulator = SimulatorProcess(tmp_path, _port(running.base_url), {})
        with pytest.raises(CliError, match="plays 1 hosts, and 2 are asked for"):
            simulator.ensure(2)


def test_simulator_is_started_where_none_answers_and_stopped(tmp_path: Path) -> None:
    import os

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    simulator = SimulatorProcess(tmp_path, port, os.environ)
    try:
        assert simulator.ensure(2)
        assert not simulator.ensure(2)
        assert [host.name for host in simulated.hosts(simulator.url)] == ["sim-0001", "sim-0002"]
    finally:
        assert simulator.daemon.stop()
    assert (tmp_path / "simulator.json").exists()
