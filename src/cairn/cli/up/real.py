"""``cairn up``: a cloud on real hosts of the lab, to the VM that answers a ping."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from cairn.cli.client import Json
from cairn.cli.up import first_vm, fixtures, guest, record
from cairn.cli.up.api import Api
from cairn.cli.up.fixtures import REAL, address_of
from cairn.cli.up.node import Management
from cairn.cli.up.report import Report
from cairn.kernel.error import CairnError
from cairn.lab.lab import Lab, LabStatus
from cairn.lab.probe import require


class Outcome(Struct, frozen=True, kw_only=True, rename="camel"):
    """The result of ``cairn up``: where the cloud is, and what there is in it."""

    kind: str
    url: str
    data_dir: str
    vm: Json
    address: str
    host: str
    console: str = ""


class RealCloud:
    """The steps, in their order; each may be run again, and only does what is missing.

    Args:
        lab: carries the hosts.
        node: the management node, or several of them.
        api: the cloud; used once the node is ready.
        report: is told of each step.
        data_dir: of lab and node.
    """

    def __init__(self, lab: Lab, node: Management, api: Api, report: Report, data_dir: Path) -> None:
        self._lab = lab
        self._node = node
        self._api = api
        self._report = report
        self._data_dir = data_dir

    def up(self, hosts: int, image: Path | None) -> Outcome:
        """Take all steps.

        Raises:
            CairnError: ``lab.impossible`` with what this machine lacks.
            CliError: exit code 1 with what failed, and what to do.
        """
        step = self._report.step
        with step("check what a lab needs"):
            require(self._lab.probe())
        record.begin(self._data_dir, "real", self._node.url)
        with step("make sure of the agents' wheels"):
            _ensure_wheels(self._report)
        with step("make sure of the guest image"):
            file = guest.ensure_image(self._data_dir, image)
            self._report.note(f"{file} ({file.stat().st_size / 1e6:.1f} MB)")
        with step(f"start a lab of {hosts} hosts"):
            lab = self._lab.up(hosts)
            self._report.note(", ".join(f"{host.name} {host.address}" for host in lab.hosts))
        self._node.up(self._report, lab.machine_address)
        return self._fill(lab, file)

    def _fill(self, lab: LabStatus, image: Path) -> Outcome:
        api, step = self._api, self._report.step
        with step("make zone and cluster"):
            zone, cluster = fixtures.zone_and_cluster(api, REAL)
        with step("make the network"):
            network = fixtures.network(api, REAL, zone, cluster)
            self._report.note(f"VXLAN, {REAL.cidr}")
        with step("make the primary storage"):
            fixtures.primary_storage(api, REAL, zone, cluster)
        with step(f"add {len(lab.hosts)} hosts over SSH"):
            added = fixtures.hosts(api, "AddKVMHost", _logins(lab, cluster))
            self._report.note(f"{added} added")
        with step("make the backup storage"):
            backup = fixtures.backup_storage(api, REAL, zone, "AddSftpBackupStorage", _backup(lab))
        with step("add the image"):
            image_uuid = fixtures.find_image(api, REAL) or self._add_image(lab, backup, image)
        with step("create the VM"):
            vm = fixtures.vm(api, image_uuid, network, fixtures.offering(api, REAL))
            self._report.note(f"{vm['name']} at {address_of(vm)}")
        return self._prove(lab, network, vm)

    def _add_image(self, lab: LabStatus, backup: str, image: Path) -> str:
        with guest.offered(image, lab.machine_address) as url:
            return fixtures.add_image(self._api, REAL, backup, url)

    def _prove(self, lab: LabStatus, network: str, vm: Json) -> Outcome:
        host = _host_of(self._api, lab, vm)
        with self._report.step(f"ping {address_of(vm)} on {host}"):
            first_vm.ping(self._run_inside, host, network, vm)
        with self._report.step("read its console"):
            text = first_vm.console(self._api, vm)
        return Outcome(
            kind="real",
            url=self._node.url,
            data_dir=str(self._data_dir),
            vm=vm,
            address=address_of(vm),
            host=host,
            console=first_vm.excerpt(text),
        )

    def _run_inside(self, host: str, command: Sequence[str]) -> int:
        return self._lab.exec(host, command).returncode


def _ensure_wheels(report: Report) -> None:
    from cairn.kernel.deploy.wheels import build_wheels, default_folder, wheel_set

    try:
        wheels = wheel_set()
    except CairnError:
        wheels = build_wheels(default_folder())
    report.note(f"{len(wheels.names)} in {wheels.folder}")


def _password(lab: LabStatus) -> str:
    return Path(lab.password_file).read_text().strip()


def _logins(lab: LabStatus, cluster: str) -> list[Json]:
    password = _password(lab)
    return [
        {
            "name": host.name,
            "managementIp": host.address,
            "clusterUuid": cluster,
            "username": host.user,
            "password": password,
            "sshPort": host.ssh_port,
        }
        for host in lab.hosts
    ]


def _backup(lab: LabStatus) -> Json:
    first = lab.hosts[0]
    return {
        "hostname": first.address,
        "username": first.user,
        "password": _password(lab),
        "sshPort": first.ssh_port,
        "url": fixtures.BACKUP_FOLDER,
    }


def _host_of(api: Api, lab: LabStatus, vm: Json) -> str:
    """The lab's name of the host that the VM runs on."""
    found = api.find("Host", f"uuid={vm['hostUuid']}")
    address = str(found[0]["managementIp"]) if found else ""
    return next((host.name for host in lab.hosts if host.address == address), address)
