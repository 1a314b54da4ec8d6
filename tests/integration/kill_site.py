"""A node and a simulator as processes of their own, which can be killed; the whole cloud is looked at from outside."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from tests.flows.rules import Hosts, Rows, SeenHost, broken
from tests.flows.world import HISTORY
from tests.system.api import Api, eventually
from tests.system.node import PASSWORD, NodeProcess

from cairn.kernel.store.opening import connected
from cairn.testing.cloud import parts_of
from cairn.testing.faults import FILE, Fault
from cairn.testing.mariadb import shared_server
from cairn.testing.simulator import SimulatorProcess, running_simulator
from cairn.testing.stores import on_mariadb

HOSTS = 2
REST_SECONDS = 15


class KillSite:
    """A cloud of two processes."""

    def __init__(self, node: NodeProcess, simulator: SimulatorProcess, database: str) -> None:
        self.node = node
        self.database = database
        self.simulator = simulator
        self.vm: dict[str, object] = {}

    @property
    def api(self) -> Api:
        """The node's API; sessions outlive the node's process."""
        return self.node.api

    def make(self) -> None:
        """A zone with all that a VM needs."""
        api = self.api
        zone = api.create("/zones", name="zone")["uuid"]
        cluster = api.create("/clusters", name="c", zoneUuid=zone, hypervisorType="Simulator")["uuid"]
        storage = api.create("/primary-storage/local-storage", name="local", zoneUuid=zone, url="/var/lib/local")[
            "uuid"
        ]
        api.call("POST", f"/clusters/{cluster}/primary-storage/{storage}", {"params": {}})
        for number in range(1, HOSTS + 1):
            url = f"{self.simulator.base_url}/hosts/sim-{number:04d}"
            api.create(
                "/hosts/simulators",
                name=f"host-{number}",
                url=url,
                managementIp=f"10.0.0.{number}",
                clusterUuid=cluster,
            )
        url = f"{self.simulator.base_url}/hosts/backup"
        backup = api.create("/backup-storage/simulators", name="backup", url=url)["uuid"]
        api.call("POST", f"/zones/{zone}/backup-storage/{backup}", {"params": {}})
        image = api.create(
            "/images", name="tiny", url="http://images/tiny.qcow2", format="qcow2", backupStorageUuids=[backup]
        )["uuid"]
        l2 = api.create("/l2-networks/vxlan", name="l2", zoneUuid=zone, vni=1001)["uuid"]
        api.call("POST", f"/l2-networks/{l2}/clusters/{cluster}")
        l3 = api.create("/l3-networks", name="flat", l2NetworkUuid=l2)["uuid"]
        api.create(f"/l3-networks/{l3}/ip-ranges/by-cidr", name="range", networkCidr="10.89.0.0/16")
        self.vm = {"imageUuid": image, "l3NetworkUuids": [l3], "cpuNum": 1, "memorySize": 64 << 20}

    def begin_vm(self, name: str, **more: object) -> str:
        """Ask for a VM; returns the job."""
        return self.api.submit("POST", "/vm-instances", {"params": {"name": name, **self.vm, **more}})

    def arm(self, fault: Fault) -> None:
        """Let the node end itself at a place."""
        (self.node.data / FILE).write_text(fault.line(), encoding="utf-8")

    def disarm(self) -> None:
        """Let it live. Safe to repeat."""
        (self.node.data / FILE).unlink(missing_ok=True)

    def ended(self, job: str) -> str | None:
        """The state of a job that has ended."""
        state = str(self.api.job(job)["state"])
        return state if state in ("Succeeded", "Failed") else None

    def vms_on_hosts(self) -> int:
        """How many VMs there really are."""
        return sum(len(host.vms) for host in self.hosts().values())

    def turn(self, **dial: object) -> None:
        """Turn a dial of the simulator."""
        body = json.dumps(dial).encode()
        request = urllib.request.Request(f"{self.simulator.base_url}/dials", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10):
            pass

    def rows(self) -> Rows:
        """The node's database, read beside it."""
        found: Rows = {}
        with connected(self.database, read_only=True) as database:
            database.begin()
            for table, record in parts_of("", "")[1].by_table.items():
                if table not in HISTORY:
                    names = [field.name for field in record.fields]
                    columns = ", ".join(f'"{name}"' for name in names)
                    rows: list[dict[str, object]] = [
                        dict(zip(names, row, strict=True))
                        for row in database.fetch(f'SELECT {columns} FROM "{table}"', ())
                    ]
                    found[table] = {str(row[record.key.name]): row for row in rows}
        return found

    def jobs_ended(self) -> int:
        """How many jobs have ended, by the database."""
        with connected(self.database, read_only=True) as database:
            database.begin()
            ((count,),) = database.fetch("SELECT count(*) FROM job WHERE finish_date IS NOT NULL", ())
            return int(count or 0)

    def hosts(self) -> Hosts:
        """What is on the simulated hosts."""
        with urllib.request.urlopen(f"{self.simulator.base_url}/inspect", timeout=10) as answer:
            return msgspec.json.decode(answer.read(), type=dict[str, SeenHost])

    def wait_for_rest(self) -> None:
        """Everything that the database says is true on the hosts, and the other way round."""

        def sound() -> bool:
            wrong = broken(self.rows(), self.hosts())
            assert wrong == []
            return True

        eventually(sound, "database and hosts agree", seconds=REST_SECONDS)

    def restart(self) -> None:
        """Start the node again, and wait until it is ready."""
        self.node.start()


@contextmanager
def kill_site(folder: Path, database: str = "") -> Iterator[KillSite]:
    """Both processes, with a site; both ended on leaving. `database`: its address; empty: the kind that tests are to run on."""
    if not database and on_mariadb():
        database = shared_server().url(shared_server().create())
    with running_simulator(hosts=HOSTS) as simulator:
        more = {
            "CAIRN_AGENT_LISTEN": "",
            "CAIRN_DATABASE": database,
            "CAIRN_LOG_LEVEL": "warning",
            "CAIRN_PLUGINS_EXTRA": "cairn.testing.faults",
        }
        node = NodeProcess(folder, "127.0.0.1", folder / "no-wheels", more)
        try:
            node.start()
            node.api.log_in(PASSWORD)
            site = KillSite(node, simulator, database or str(node.data / "cairn.db"))
            site.make()
            yield site
        finally:
            node.end()
