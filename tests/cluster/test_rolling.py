"""Three nodes behind one address, as `cairn up --nodes` makes them: restarted, killed and resized while people use them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.broker.server import installed
from tests.cluster.users import Users
from tests.ports import free_port

from cairn.cli.up.daemon import MARK, Daemon, wait_until
from cairn.cli.up.programs import is_free, program

PASSWORD = "Three-nodes-4711"
GONE_SECONDS = 60


class UpCloud:
    """What `cairn up` makes in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.simulator = free_port()
        self.environment = {
            **os.environ,
            "CAIRN_DATA_DIR": str(folder),
            "CAIRN_URL": f"http://127.0.0.1:{self.port}",
            "CAIRN_ADMIN_PASSWORD": PASSWORD,
            "CAIRN_ACCOUNT": "admin",
            "CAIRN_PASSWORD": PASSWORD,
            "XDG_CONFIG_HOME": str(folder.parent / "config"),
        }

    def cairn(self, *arguments: str, **more: str) -> str:
        """What a command prints."""
        command = [sys.executable, "-m", "cairn.cli.main", *arguments]
        done = subprocess.run(command, env={**self.environment, **more}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (arguments, done.stdout[-3000:], done.stderr[-3000:])
        return done.stdout

    def up(self, *more: str) -> str:
        """Start what does not run."""
        simulator = str(self.simulator)
        return self.cairn("up", "--simulated", "--hosts", "5", "--simulator-port", simulator, "--json", *more)

    def rows(self, entity: str, *conditions: str) -> list[Mapping[str, object]]:
        return list(json.loads(self.cairn("query", entity, *conditions, "--json"))["inventories"])

    def users(self) -> Users:
        image, network = (str(self.rows(entity)[0]["uuid"]) for entity in ("Image", "L3Network"))
        vm = {"imageUuid": image, "l3NetworkUuids": [network], "cpuNum": 1, "memorySize": 64 << 20}
        return Users(self.environment["CAIRN_URL"], PASSWORD, vm)

    def end(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a program, and wait until it is gone."""
        daemon = Daemon(name, self.folder)
        assert daemon.running() is not None
        daemon.tell(number)
        assert wait_until(lambda: daemon.running() is None, GONE_SECONDS)

    def processes(self) -> list[str]:
        """What runs of it, whoever is its parent."""
        mark = f"{MARK}={self.folder}/".encode()
        found = []
        for entry in Path("/proc").iterdir():
            try:
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z" and any(
                    word.startswith(mark) for word in (entry / "environ").read_bytes().split(b"\0")
                ):
                    found.append((entry / "cmdline").read_bytes().decode().replace("\0", " "))
            except (OSError, IndexError):
                continue
        return found


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpCloud]:
    if not installed() or program("mariadbd") is None or program("haproxy") is None:
        pytest.skip("several nodes need mariadb-server, rabbitmq-server and haproxy: make packages")
    made = UpCloud(tmp_path_factory.mktemp("up") / "cloud")
    try:
        made.up("--nodes", "3")
        yield made
    finally:
        made.cairn("down", "--yes")


def books(cloud: UpCloud) -> None:
    """Nothing is open, and nothing is left over."""
    assert cloud.rows("Job", "state=Waiting") == []
    assert cloud.rows("WorkflowRun") == []
    assert [vm["name"] for vm in cloud.rows("VmInstance")] == ["first"]
    database = json.loads(cloud.cairn("status", "--json"))["parts"]["database"]["url"]
    cloud.cairn("db", "check", CAIRN_DATABASE=database)


def test_no_call_fails_while_all_nodes_are_restarted_one_after_the_other(cloud: UpCloud) -> None:
    users = cloud.users()
    with users.at_work():
        threading.Event().wait(2)
        for name in ("node", "node-2", "node-3"):
            cloud.end(name, signal.SIGTERM)
            assert '"start 3 management nodes"' in cloud.up()
        threading.Event().wait(2)

    assert users.failed == []
    assert min(users.done[what] for what in ("look", "connect", "vm")) > 10
    assert [row["state"] for row in cloud.rows("ManagementNode")] == ["Running"] * 3
    books(cloud)


def test_no_call_fails_when_nodes_and_the_broker_are_killed(cloud: UpCloud) -> None:
    users = cloud.users()
    with users.at_work():
        for name in ("node-2", "broker", "node"):
            threading.Event().wait(2)
            cloud.end(name, signal.SIGKILL)
            threading.Event().wait(3)
            cloud.up()
        threading.Event().wait(8)  # what the last one left is taken over

    assert users.failed == []
    books(cloud)


def test_calls_go_on_when_database_and_proxy_are_back(cloud: UpCloud) -> None:
    for name in ("database", "front"):
        cloud.end(name, signal.SIGKILL)
        assert name.replace("front", "proxy") in json.loads(cloud.cairn("status", "--json"))["trouble"]
    cloud.up()
    users = cloud.users()
    with users.at_work():
        threading.Event().wait(3)
    assert users.failed == []
    books(cloud)


def test_no_call_fails_while_nodes_are_taken_out_and_added(cloud: UpCloud) -> None:
    users = cloud.users()
    with users.at_work():
        threading.Event().wait(1)
        cloud.up("--nodes", "1")
        assert len(cloud.rows("ManagementNode")) == 1
        cloud.up("--nodes", "2")
        assert len(cloud.rows("ManagementNode")) == 2
        threading.Event().wait(2)
    assert users.failed == []
    books(cloud)


def test_down_leaves_nothing(cloud: UpCloud) -> None:
    assert len(cloud.processes()) > 5
    ports = [part["url"].rpartition(":")[2] for part in json.loads(cloud.cairn("status", "--json"))["parts"].values()]
    cloud.end("node", signal.SIGKILL)
    cloud.cairn("down", "--yes")
    assert cloud.processes() == []
    assert not cloud.folder.exists()
    assert all(is_free("127.0.0.1", int(port)) for port in ports if port.isdigit())
    assert json.loads(cloud.cairn("down", "--yes", "--json")) == {"stopped": [], "deleted": False}
