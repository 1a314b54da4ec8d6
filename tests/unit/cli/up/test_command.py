from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import msgspec
import pytest
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fakes import FakeNode
from tests.unit.cli.up.test_holder import working

from cairn.cli.errors import CliError, Exit
from cairn.cli.up import command, record
from cairn.cli.up.broker import BrokerPorts
from cairn.cli.up.cluster import Plan
from cairn.cli.up.daemon import Daemon
from cairn.kernel.membership import FolderLock
from cairn.lab.lab import Lab

NOWHERE = ("--url", "http://127.0.0.1:9")


@pytest.fixture(autouse=True)
def no_lab(monkeypatch: pytest.MonkeyPatch, environment: Path) -> None:
    monkeypatch.setenv("CAIRN_LAB_NAME", "clitest")
    (environment / "data" / "admin-password").unlink()


def test_status_of_nothing_says_how_to_begin(cli: Cli) -> None:
    ran = cli("status", *NOWHERE)
    assert ran.code == Exit.OK
    assert "cairn up --simulated" in ran.out


def test_status_counts_what_is_in_the_cloud(cli: Cli, node: FakeNode, environment: Path) -> None:
    (environment / "data" / "admin-password").write_text("secret")
    told = cli("status").out
    assert "1 Running" in told
    assert json.loads(cli("status", "--json").out)["counts"]["VmInstance"] == {"Running": 1}


def test_status_without_a_login_still_says_what_runs(cli: Cli, node: FakeNode) -> None:
    ran = cli("status")
    assert ran.code == Exit.OK
    assert node.url in ran.out
    assert "login" in ran.err


def test_down_stops_and_deletes_what_up_made_and_may_be_repeated(cli: Cli, environment: Path) -> None:
    folder = environment / "data"
    record.begin(folder, "simulated", "http://x")
    daemon = Daemon("simulator", folder)
    daemon.start([sys.executable, "-c", "import signal; signal.pause()"], os.environ, "http://x")
    ran = cli("down", "--yes")
    assert ran.code == Exit.OK
    assert "✔ stop the simulator" in ran.err
    assert list(folder.iterdir()) == []
    assert "Nothing of a cloud runs here" in cli("down").err


def test_down_keeps_data_when_asked_to(cli: Cli, environment: Path) -> None:
    record.begin(environment / "data", "simulated", "http://x")
    (environment / "data" / "cairn.db").write_text("")
    assert json.loads(cli("down", "--keep-data", "--json").out) == {"stopped": [], "deleted": False}
    assert (environment / "data" / "cairn.db").exists()


def test_down_leaves_an_operators_own_data_alone(cli: Cli, environment: Path) -> None:
    (environment / "data" / "cairn.db").write_text("")
    cli("down", "--yes")
    assert (environment / "data" / "cairn.db").exists()


def test_down_stops_the_node_that_was_started_again_by_hand(cli: Cli, environment: Path) -> None:
    folder = environment / "data"
    record.begin(folder, "simulated", "http://x")
    with working(folder, "cairn", "serve") as process:
        ran = cli("down", "--yes")
        assert process.wait() < 0
    assert ran.code == Exit.OK
    assert "✔ stop the node that was started by hand" in ran.err
    assert list(folder.iterdir()) == []


def test_down_deletes_nothing_under_another_program(cli: Cli, environment: Path) -> None:
    folder = environment / "data"
    record.begin(folder, "simulated", "http://x")
    (folder / "cairn.db").write_text("")
    with working(folder, "something") as process:
        ran = cli("down", "--yes")
        assert process.poll() is None
    assert (ran.code, (folder / "cairn.db").exists()) == (Exit.REFUSED, True)
    assert "Nothing was deleted" in ran.err


def test_down_deletes_nothing_while_any_lock_of_the_folder_is_held(cli: Cli, environment: Path) -> None:
    folder = environment / "data"
    record.begin(folder, "simulated", "http://x")
    lock = FolderLock(folder, "other-world.json.lock")
    ran = cli("down", "--yes")
    lock.release()
    assert ran.code == Exit.REFUSED
    assert record.read(folder) is not None
    assert cli("down", "--yes").code == Exit.OK
    assert list(folder.iterdir()) == []


def test_down_leaves_an_operators_own_node_alone(cli: Cli, environment: Path) -> None:
    (environment / "data" / "cairn.db").write_text("")
    with working(environment / "data", "cairn", "serve") as process:
        assert cli("down", "--yes").code == Exit.OK
        assert process.poll() is None


def test_down_leaves_the_lab_of_another_folder_alone(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object) -> None:
        raise AssertionError("a lab was taken away")

    monkeypatch.setattr(Lab, "down", fail)
    assert cli("down", "--yes").code == Exit.OK


def test_one_up_at_a_time(tmp_path: Path) -> None:
    with command._alone(tmp_path):
        with pytest.raises(CliError, match="Another"), command._alone(tmp_path):
            pass
        with command._alone(tmp_path / "other"):
            pass
    with command._alone(tmp_path):
        pass


def test_down_stops_all_parts_of_a_cloud_of_several_nodes(cli: Cli, environment: Path) -> None:
    folder = environment / "data"
    record.begin(folder, "simulated", "http://x")
    ports = BrokerPorts(broker=1, names=2, distribution=3)
    plan = Plan(ports={1: 20001, 2: 20002}, broker=ports, own_database=True, own_broker=True)
    (folder / "cluster.json").write_bytes(msgspec.json.encode(plan))
    (folder / "nodes" / "2").mkdir(parents=True)
    for name in ("front", "node", "node-2", "broker", "database"):
        Daemon(name, folder).start([sys.executable, "-c", "import signal; signal.pause()"], os.environ, "http://x")
    ran = cli("down", "--yes", "--json")
    assert json.loads(ran.out) == {"stopped": ["proxy", "node 2", "node 1", "broker", "database"], "deleted": True}
    assert list(folder.iterdir()) == []


def test_down_deletes_nothing_under_a_further_node_that_something_else_holds(cli: Cli, environment: Path) -> None:
    folder = environment / "data"
    record.begin(folder, "simulated", "http://x")
    (folder / "nodes" / "2").mkdir(parents=True)
    with working(folder / "nodes" / "2", "something") as process:
        assert cli("down", "--yes").code == Exit.REFUSED
        assert process.poll() is None
    assert (folder / "nodes" / "2").exists()


def test_several_nodes_are_refused_where_there_is_one_on_sqlite(cli: Cli, environment: Path) -> None:
    (environment / "data" / "cairn.db").write_text("")
    ran = cli("up", "--simulated", "--nodes", "3", *NOWHERE)
    assert ran.code == Exit.REFUSED
    assert "up.one-node-database" in ran.err
    assert "cairn down" in ran.err
