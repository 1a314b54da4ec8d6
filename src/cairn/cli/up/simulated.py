"""``cairn up --simulated``: a cloud on hosts that ``cairn simulator`` plays. It needs neither root nor QEMU."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from cairn.cli.client import Json
from cairn.cli.errors import CliError, refused
from cairn.cli.http import HttpClient
from cairn.cli.up import fixtures, record
from cairn.cli.up.api import Api
from cairn.cli.up.daemon import Daemon
from cairn.cli.up.fixtures import SIMULATED, Place, address_of
from cairn.cli.up.node import Management
from cairn.cli.up.real import Outcome
from cairn.cli.up.report import Report

_READY_SECONDS = 30.0
IMAGE_URL = "http://images.example/tiny.qcow2"


class SimulatorProcess:
    """The simulator of a data folder.

    Args:
        data_dir: it keeps its world there, in ``simulator.json``.
        port: where it listens on loopback.
        environment: it runs with this.
    """

    def __init__(self, data_dir: Path, port: int, environment: Mapping[str, str]) -> None:
        self.daemon = Daemon("simulator", data_dir)
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self._state = data_dir / record.SIMULATOR_STATE
        self._environment = environment

    def is_ready(self) -> bool:
        """Whether a simulator answers, whoever started it."""
        try:
            hosts(self.url)
        except CliError:
            return False
        return True

    def ensure(self, wanted: int) -> bool:
        """Start the simulator unless it answers. Returns whether it was started (exit code 1 if it plays too few hosts)."""
        started = not self.is_ready()
        if started:
            if self.daemon.running() is None:
                command = [sys.executable, "-m", "cairn.simulator.main", "--port", str(self._port)]
                command += ["--hosts", str(wanted), "--state", str(self._state)]
                self.daemon.start(command, self._environment, self.url)
            self.daemon.await_ready(self.is_ready, _READY_SECONDS)
        count = len(hosts(self.url))
        if count < wanted:
            raise refused(
                f"The simulator at {self.url} plays {count} hosts, and {wanted} are asked for. Ask for at most {count}, or "
                "begin again: cairn down, then cairn up --simulated.",
                code="up.too-few-hosts",
            )
        return started


class SimulatedHost(Struct, frozen=True, kw_only=True):
    """A host that the simulator plays."""

    name: str
    path: str  #: below the simulator's URL
    address: str  #: which the simulated machine says it has


def hosts(simulator_url: str) -> list[SimulatedHost]:
    """The hosts that the simulator at this URL plays, without its backup server (exit code 3 when none answers)."""
    http = HttpClient(simulator_url)
    try:
        response = http.request("GET", "/hosts", timeout_seconds=10)
    finally:
        http.close()
    try:
        found = msgspec.json.decode(response.body, type=list[SimulatedHost])
    except msgspec.MsgspecError as error:
        raise refused(
            f"{simulator_url} is answered by something other than a simulator.", code="up.no-simulator"
        ) from error
    return [host for host in found if host.name != "backup"]


def fill(api: Api, simulator_url: str, wanted: int, report: Report) -> tuple[Place, str, str]:
    """Make a cloud of `wanted` simulated hosts: where VMs can be made, the image's uuid, the offering's."""
    step = report.step
    with step("make zone and cluster"):
        zone, cluster = fixtures.zone_and_cluster(api, SIMULATED)
    with step("make the network"):
        network = fixtures.network(api, SIMULATED, zone, cluster)
        report.note(SIMULATED.cidr)
    with step("make the primary storage"):
        fixtures.primary_storage(api, SIMULATED, zone, cluster)
    with step(f"add {wanted} hosts"):
        played = hosts(simulator_url)[:wanted]
        added = fixtures.hosts(api, "AddSimulatorHost", [_values(host, cluster, simulator_url) for host in played])
        report.note(f"{added} added")
    with step("make the backup storage"):
        values: Json = {"url": f"{simulator_url}/hosts/backup"}
        backup = fixtures.backup_storage(api, SIMULATED, zone, "AddSimulatorBackupStorage", values)
    with step("add the image"):
        image = fixtures.find_image(api, SIMULATED) or fixtures.add_image(api, SIMULATED, backup, IMAGE_URL)
    return Place(zone=zone, cluster=cluster, network=network), image, fixtures.offering(api, SIMULATED)


class SimulatedCloud:
    """The steps, in their order; each may be run again, and only does what is missing."""

    def __init__(self, simulator: SimulatorProcess, node: Management, api: Api, report: Report, data_dir: Path) -> None:
        self._simulator = simulator
        self._node = node
        self._api = api
        self._report = report
        self._data_dir = data_dir

    def up(self, wanted: int) -> Outcome:
        """Take all steps (exit code 1 with what failed, and what to do)."""
        step = self._report.step
        record.begin(self._data_dir, "simulated", self._node.url)
        with step(f"start a simulator of {wanted} hosts"):
            started = self._simulator.ensure(wanted)
            self._report.note(f"{self._simulator.url} ({_told(started)})")
        self._node.up(self._report)
        place, image, offering = fill(self._api, self._simulator.url, wanted, self._report)
        with step("create the VM"):
            vm = fixtures.vm(self._api, image, place.network, offering)
            self._report.note(f"{vm['name']} at {address_of(vm)}")
        found = self._api.find("Host", f"uuid={vm['hostUuid']}")
        return Outcome(
            kind="simulated",
            url=self._node.url,
            data_dir=str(self._data_dir),
            vm=vm,
            address=address_of(vm),
            host=str(found[0]["name"]) if found else "",
        )


def _values(host: SimulatedHost, cluster: str, simulator_url: str) -> Json:
    url = f"{simulator_url}{host.path}"
    return {"name": host.name, "managementIp": host.address, "clusterUuid": cluster, "url": url}


def _told(started: bool) -> str:
    return "started" if started else "runs already"
