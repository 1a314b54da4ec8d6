"""Three processes on a real MariaDB and a real RabbitMQ, under load, while everything that can go away does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from tests.books import disorder
from tests.broker.server import RabbitServer, installed
from tests.ports import free_port

from cairn.simulator.agents import Commanded
from cairn.testing.mariadb import Server

PASSWORD = "Three-nodes-4711"
READY_SECONDS = 120


class Cluster:
    """A database, a broker, a simulator and three nodes; gone afterwards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Server()
        self.broker = RabbitServer(folder / "broker")
        self.broker.start()
        self.ports = {number: free_port() for number in (1, 2, 3)}
        self.simulator = free_port()
        self.nodes: dict[int, subprocess.Popen[bytes]] = {}
        self.environment = {
            **os.environ,
            "CAIRN_DATABASE": self.database.url(self.database.create()),
            "CAIRN_BROKER": self.broker.url,
            "CAIRN_SECRET_KEY_FILE": str(folder / "secret.key"),
            "CAIRN_ADMIN_PASSWORD": PASSWORD,
            "CAIRN_ACCOUNT": "admin",
            "CAIRN_PASSWORD": PASSWORD,
            "CAIRN_URL": self.url(1),
            "CAIRN_DATA_DIR": str(folder / "node-1"),
        }

    def url(self, node: int) -> str:
        return f"http://127.0.0.1:{self.ports[node]}"

    def cairn(self, *arguments: str) -> str:
        """What a command prints."""
        done = subprocess.run(
            self._command(arguments), env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (arguments, done.stdout[-3000:], done.stderr[-3000:])
        return done.stdout

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that goes on meanwhile."""
        return subprocess.Popen(
            self._command(arguments), env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "cairn.cli.main", *arguments]

    def start(self, number: int) -> None:
        """Start a node, and wait until it is ready."""
        with (self.folder / f"node-{number}.log").open("ab") as log:
            self.nodes[number] = subprocess.Popen(
                self._command(["serve", "--listen", f"127.0.0.1:{self.ports[number]}"]),
                env={**self.environment, "CAIRN_DATA_DIR": str(self.folder / f"node-{number}")},
                stdout=log,
                stderr=log,
            )
        self.await_ready(number)

    def await_ready(self, number: int) -> None:
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until:
            with suppress(OSError), urllib.request.urlopen(f"{self.url(number)}/readyz", timeout=5):
                return
            threading.Event().wait(0.2)
        raise AssertionError((self.folder / f"node-{number}.log").read_text(encoding="utf-8")[-3000:])

    def rows(self, entity: str, *conditions: str) -> list[Mapping[str, object]]:
        return list(json.loads(self.cairn("query", entity, *conditions, "--json"))["inventories"])

    def vms_on_hosts(self) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.simulator}/inspect", timeout=10) as answer:
            found = json.loads(answer.read())
        return sum(len(host.get("vms", {})) for host in found.values())

    def book(self) -> list[Commanded]:
        """Who commanded what."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.simulator}/commands", timeout=30) as answer:
            return msgspec.json.decode(answer.read(), type=dict[str, list[Commanded]])["commands"]

    def members(self) -> list[str]:
        return [str(row["state"]) for row in self.rows("ManagementNode")]

    def stop(self) -> None:
        for node in self.nodes.values():
            node.send_signal(signal.SIGCONT)
            node.kill()
            node.wait()
        subprocess.run(self._command(["down", "--yes"]), env=self.environment, capture_output=True, check=False)
        self.broker.kill()
        self.database.stop()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    if not installed():
        pytest.skip("rabbitmq-server is not installed: make packages")
    made = Cluster(tmp_path)
    try:
        made.cairn("up", "--simulated", "--hosts", "10", "--simulator-port", str(made.simulator), "--url", made.url(1))
        made.start(2)
        made.start(3)
        yield made
    finally:
        made.stop()


def load(cluster: Cluster, count: int) -> subprocess.Popen[str]:
    """So many VMs, made and removed again, through the node that stays."""
    return cluster.begin("bench", "vm", "--count", str(count), "--concurrency", "20", "--json")


def ended(bench: subprocess.Popen[str]) -> Mapping[str, object]:
    out, error = bench.communicate(timeout=300)
    assert bench.returncode == 0, (out[-3000:], error[-3000:])
    return dict(json.loads(out))


def test_every_accepted_call_ends_whatever_goes_away(cluster: Cluster) -> None:
    assert cluster.members() == ["Running"] * 3

    bench = load(cluster, 300)
    threading.Event().wait(2)
    cluster.nodes[2].kill()  # dies
    cluster.nodes[2].wait()
    assert ended(bench)["failed"] == 0
    cluster.start(2)

    bench = load(cluster, 300)
    threading.Event().wait(1)
    cluster.nodes[3].send_signal(signal.SIGSTOP)  # hangs until it is declared gone, and wakes
    threading.Event().wait(10)
    cluster.nodes[3].send_signal(signal.SIGCONT)
    assert ended(bench)["failed"] == 0
    cluster.await_ready(3)

    bench = load(cluster, 300)
    threading.Event().wait(1)
    cluster.broker.kill()
    threading.Event().wait(3)
    cluster.broker.start()
    assert ended(bench)["failed"] == 0

    bench = load(cluster, 300)
    threading.Event().wait(1)
    cluster.nodes[2].terminate()  # leaves, and comes back
    assert cluster.nodes[2].wait(60) == 0
    assert ended(bench)["failed"] == 0
    cluster.start(2)

    assert cluster.members() == ["Running"] * 3
    assert cluster.rows("Job", "state=Waiting") == []
    assert cluster.rows("WorkflowRun") == []
    assert cluster.rows("HostFault") == []
    assert [vm["state"] for vm in cluster.rows("VmInstance")] == ["Running"]  # the first one
    assert cluster.vms_on_hosts() == 1
    cluster.cairn("db", "check")

    book = cluster.book()
    assert disorder(book) == []
    starts = [line for line in book if line.command == "vm.start"]
    assert len(starts) >= 1200
    assert all([fence.resource.partition(":")[0] for fence in line.fences] == ["machine", "vm"] for line in starts)
    assert len({fence.node for line in starts for fence in line.fences[1:]}) == 3


def test_nodes_go_on_when_their_database_was_away(cluster: Cluster) -> None:
    cluster.database.kill()
    threading.Event().wait(3)
    cluster.database.start()
    for number in cluster.ports:
        cluster.await_ready(number)

    assert ended(load(cluster, 60))["failed"] == 0
    assert cluster.rows("Job", "state=Waiting") == []
    assert cluster.members() == ["Running"] * 3
    cluster.cairn("db", "check")
