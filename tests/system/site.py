"""A whole cloud on a lab: its node, its hosts, what is on them, and images to take."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from msgspec import Struct
from tests.system.api import Api, Inventory, eventually
from tests.system.node import NodeProcess

from cairn.lab import Lab

STORAGE = "/var/lib/cairn-storage"
BACKUP = "/var/lib/cairn-backup"
MEMORY = 128 << 20
#: How long a guest may take to be up in software emulation on a busy machine.
BOOT_SECONDS = 90
_BUILD = Path(__file__).parents[2] / "tools/guest_image/build.py"


class Traces(Struct, frozen=True, kw_only=True):
    """What a host has of a cloud's VMs."""

    domains: list[str]
    disks: list[str]
    leases: list[str]  #: MAC addresses that some dnsmasq answers
    metadata: list[str]  #: VMs that some metadata server answers
    taps: list[str]
    consoles: list[str]
    namespaces: list[str]  #: of flat networks

    def of(self, vm: Inventory) -> list[str]:
        """Everything that belongs to one VM, by its inventory as it was while it had its cards and disk."""
        names = [vm["uuid"], *(volume["uuid"] for volume in vm["allVolumes"])]
        for nic in vm["vmNics"]:
            names += [nic["mac"], nic["internalName"]]
        lists = (self.domains, self.disks, self.leases, self.metadata, self.taps, self.consoles)
        return [text for texts in lists for text in texts if any(name in text for name in names)]


#: Prints what `Traces` has of a host, as JSON.
_LOOK = """\
import glob, json, os, subprocess
def names(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
records = [json.load(open(path)) for path in glob.glob("/var/lib/cairn-agent/networks/*.json")]
print(json.dumps({
    "domains": names("virsh", "-q", "list", "--all", "--name"),
    "disks": glob.glob("STORAGE/rootVolumes/**/*.qcow2", recursive=True),
    "leases": [line.split(",")[0] for path in glob.glob("/var/lib/cairn-agent/dhcp/*/hosts") for line in open(path)],
    "metadata": [one["vm"] for record in records for one in record.get("metadata", {}).values()],
    "taps": [name for name in os.listdir("/sys/class/net") if name.startswith(("vnic", "vnet"))],
    "consoles": [os.path.basename(path) for path in glob.glob("/var/lib/cairn-agent/console/*")],
    "namespaces": os.listdir("/run/netns") if os.path.isdir("/run/netns") else [],
}))
""".replace("STORAGE", STORAGE)


#: Runs a line in the shell on a VM's serial console, and prints its exit code. Reading goes on until it is seen: QEMU
#: takes nothing from a terminal that nobody has open.
_TYPE = """\
import os, re, secrets, subprocess, sys, tty
path = subprocess.run(["virsh", "-q", "ttyconsole", sys.argv[1]], capture_output=True, text=True, check=True).stdout
terminal = os.open(path.strip(), os.O_RDWR | os.O_NOCTTY)
tty.setraw(terminal)
mark = secrets.token_hex(4)
os.write(terminal, f"{sys.argv[2]}; echo {mark} $?.\\r".encode())
seen = b""
while not (found := re.search(rf"{mark} (\\d+)\\.".encode(), seen)):
    seen += os.read(terminal, 1000)
print(found[1].decode())
"""


class Hosts:
    """The lab's hosts, looked at and worked on past the cloud."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def address(self, name: str) -> str:
        """A host's address on the switch."""
        return next(host.address for host in self.lab.hosts() if host.name == name)

    def run(self, name: str, *command: str) -> str:
        """What a program prints on a host; it must succeed."""
        done = self.lab.exec(name, command)
        assert done.returncode == 0, f"{' '.join(command)} on {name}: {done.returncode} {done.stdout} {done.stderr}"
        return done.stdout

    def succeeds(self, name: str, *command: str) -> bool:
        """Whether a program succeeds on a host."""
        return self.lab.exec(name, command).returncode == 0

    def traces(self, name: str) -> Traces:
        """What a host has of VMs."""
        return Traces(**json.loads(self.run(name, "python3", "-c", _LOOK)))

    def qemu_of(self, name: str, vm: str) -> int:
        """The process of a running VM, by its number inside the host."""
        return int(self.run(name, "pgrep", "-f", f"guest={vm}").split()[0])


class Network(Struct, frozen=True, kw_only=True):
    """A network with its uuids."""

    l2: str
    l3: str


class Cloud(Struct, frozen=True, kw_only=True):
    """A zone with a cluster of the lab's hosts, networks, storage and the guest image."""

    zone: str
    cluster: str
    hosts: dict[str, str]  #: name -> uuid
    backup_storage: str
    primary_storage: str
    image: str
    network: Network


class Site:
    """What the tests of a real cloud share.

    Args:
        node: started.
        lab: with its hosts up.
        images: folder that is served at `images_url`.
    """

    def __init__(self, node: NodeProcess, lab: Lab, images: Path, images_url: str) -> None:
        self.node = node
        self.lab = lab
        self.on = Hosts(lab)
        self.images = images
        self.images_url = images_url

    @property
    def api(self) -> Api:
        """The admin's session."""
        return self.node.api

    @property
    def password(self) -> str:
        """Root's password on every host."""
        return Path(self.lab.status().password_file).read_text().strip()

    @property
    def private_key(self) -> str:
        """A key that every host takes for root."""
        return Path(self.lab.status().key_file).read_text()

    def host_params(self, cluster: str, name: str, **login: str) -> dict[str, Any]:
        """What a host of the lab is added with."""
        return {"name": name, "managementIp": self.on.address(name), "clusterUuid": cluster, **login}

    def add_host(self, cluster: str, name: str, **login: str) -> Inventory:
        """A host of the lab becomes one of the cloud."""
        return self.api.create("/hosts/kvm", **self.host_params(cluster, name, **login), seconds=180)

    def make_network(self, zone: str, cluster: str, name: str, first: str, last: str) -> Network:
        """A VXLAN network in a cluster, with addresses from `first` to `last` of a /24."""
        l2 = self.api.create("/l2-networks/vxlan", name=name, zoneUuid=zone)["uuid"]
        self.api.call("POST", f"/l2-networks/{l2}/clusters/{cluster}", {})
        l3 = self.api.create("/l3-networks", name=name, l2NetworkUuid=l2)["uuid"]
        self.api.create(f"/l3-networks/{l3}/ip-ranges", name=name, startIp=first, endIp=last, netmask="255.255.255.0")
        return Network(l2=l2, l3=l3)

    def add_image(self, cloud: Cloud, file: str, **params: Any) -> Inventory:
        """Fetch an image of the folder `images`."""
        usual = {"name": file, "url": f"{self.images_url}/{file}", "format": "qcow2"}
        return self.api.create("/images", **{**usual, **params}, backupStorageUuids=[cloud.backup_storage])

    def vm_params(self, cloud: Cloud, name: str, **params: Any) -> dict[str, Any]:
        """What a small VM of the guest image is asked for with."""
        usual = {
            "name": name,
            "imageUuid": cloud.image,
            "l3NetworkUuids": [cloud.network.l3],
            "cpuNum": 1,
            "memorySize": MEMORY,
        }
        return {**usual, **params}

    def create_vm(self, cloud: Cloud, name: str, *, tags: list[str] | None = None, **params: Any) -> Inventory:
        """A running VM."""
        return self.api.create("/vm-instances", tags=tags, **self.vm_params(cloud, name, **params))

    def vm(self, uuid: str) -> Inventory:
        """How a VM stands."""
        return self.api.one(f"/vm-instances/{uuid}")

    def booted(self, vm: str, times: int = 1) -> str:
        """The console of a VM, once its guest was up so many times."""

        def ready() -> str:
            text = self.api.console(vm)
            return text if text.count("cairn guest ready") >= times else ""

        return eventually(ready, f"the guest of {vm} is up {times} times", seconds=BOOT_SECONDS)

    def host_of(self, cloud: Cloud, vm: Inventory) -> str:
        """The name of the host on which a VM runs, or ran last."""
        uuid = vm["hostUuid"] or vm["lastHostUuid"]
        return next(name for name, host in cloud.hosts.items() if host == uuid)

    def reaches(self, cloud: Cloud, vm: Inventory) -> bool:
        """Whether a VM answers a ping from the network's own name space on its host."""
        nic = vm["vmNics"][0]
        space = f"cairn-{nic['l3NetworkUuid']}"
        return self.on.succeeds(self.host_of(cloud, vm), "ip", "netns", "exec", space, "ping", "-c1", "-W2", nic["ip"])

    def guest_reaches(self, cloud: Cloud, vm: Inventory, other: Inventory) -> bool:
        """Whether another VM answers a ping from within a VM, asked in the shell on its serial console."""
        line = f"ping -c1 -W2 {other['vmNics'][0]['ip']} >/dev/null"
        return self.on.run(self.host_of(cloud, vm), "python3", "-c", _TYPE, vm["uuid"], line) == "0\n"

    def fetch(self, cloud: Cloud, vm: Inventory) -> str:
        """What a VM's port 80 answers, asked from its network's name space on its host."""
        nic = vm["vmNics"][0]
        program = f"import urllib.request as u; print(u.urlopen('http://{nic['ip']}/', timeout=5).read().decode())"
        space = f"cairn-{nic['l3NetworkUuid']}"
        return self.on.run(self.host_of(cloud, vm), "ip", "netns", "exec", space, "python3", "-c", program)

    def state(self, vm: str) -> str:
        """A VM's state."""
        found: str = self.vm(vm)["state"]
        return found

    def host_status(self, uuid: str) -> str:
        """A host's status."""
        found: str = self.api.one(f"/hosts/{uuid}")["status"]
        return found

    def console_file(self, host: str, vm: str) -> str:
        """The serial console's log of a VM, as it is on its host."""
        return self.on.run(host, "cat", f"/var/lib/cairn-agent/console/{vm}.log").replace("\r", "")

    def kill_qemu(self, host: str, vm: str) -> None:
        """``kill -9`` of a VM's process."""
        self.on.run(host, "kill", "-KILL", str(self.on.qemu_of(host, vm)))

    @contextmanager
    def deaf_to(self, host: str) -> Iterator[None]:
        """Meanwhile nothing that the agents of a host send to the node by themselves gets there."""
        drop = f"ip daddr {self.lab.status().machine_address} tcp dport {self.node.agent_port} drop"
        rules = f"table inet deaf {{ chain out {{ type filter hook output priority 0; {drop}; }}; }}"
        self.on.run(host, "nft", rules)
        try:
            yield
        finally:
            self.on.run(host, "nft", "delete table inet deaf")

    def expunge(self, vm: str) -> None:
        """Destroy a VM, unless it is, and expunge it."""
        self.api.delete(f"/vm-instances/{vm}")
        self.api.act(f"/vm-instances/{vm}", "expungeVmInstance")

    def remove_vms(self) -> None:
        """No VM is left, whatever became of those that there were."""
        paths = [f"/vm-instances/{vm['uuid']}" for vm in self.api.query("/vm-instances")]
        for job in [self.api.submit("DELETE", path) for path in paths]:
            self.api.outcome(job)
        for job in [self.api.submit("PUT", f"{path}/actions", {"expungeVmInstance": {}}) for path in paths]:
            self.api.outcome(job)


def build_guest_image(output: Path) -> None:
    """Debian's kernel and busybox as a bootable qcow2."""
    subprocess.run([sys.executable, _BUILD, "--output", output], check=True)


@contextmanager
def serving(folder: Path, address: str) -> Iterator[str]:
    """An HTTP server of the files in `folder`; yields its URL."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer((address, 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, name="images", daemon=True)
        thread.start()
        try:
            yield f"http://{address}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
