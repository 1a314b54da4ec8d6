"""The resources of a small cloud, each found by its name or made. Everything here may be run again."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from cairn.cli.client import Json
from cairn.cli.up.api import Api, ensure, run, uuid_of, uuids_in

STORAGE_FOLDER = "/var/lib/cairn-storage"
BACKUP_FOLDER = "/var/lib/cairn-backup"
VM_NAME = "first"
VM_MEMORY_BYTES = 128 << 20


class Naming(Struct, frozen=True, kw_only=True):
    """The names of the resources, and how large the network is."""

    zone: str
    cluster: str
    network: str
    storage: str
    backup: str
    offering: str
    image: str
    cidr: str
    hypervisor: str


REAL = Naming(
    zone="lab",
    cluster="lab",
    network="flat",
    storage="local",
    backup="backup",
    offering="tiny",
    image="tiny",
    cidr="10.89.0.0/24",
    hypervisor="KVM",
)
#: Room for a million addresses, so that large clouds can be tried.
SIMULATED = Naming(
    zone="simulated",
    cluster="simulated",
    network="sim-flat",
    storage="sim-local",
    backup="sim-backup",
    offering="sim-tiny",
    image="sim-tiny",
    cidr="10.96.0.0/12",
    hypervisor="Simulator",
)


class Place(Struct, frozen=True, kw_only=True):
    """The resources in which VMs can be made."""

    zone: str
    cluster: str
    network: str


def zone_and_cluster(api: Api, naming: Naming) -> tuple[str, str]:
    """Uuids of the zone and the cluster in it."""
    zone = uuid_of(ensure(api, "Zone", "CreateZone", naming.zone, {}))
    values: Json = {"zoneUuid": zone, "hypervisorType": naming.hypervisor}
    cluster = ensure(api, "Cluster", "CreateCluster", naming.cluster, values, f"zoneUuid={zone}")
    return zone, uuid_of(cluster)


def network(api: Api, naming: Naming, zone: str, cluster: str) -> str:
    """The uuid of an L3 network with addresses, on an L2 network of its own that the cluster has."""
    l2 = ensure(api, "L2Network", "CreateL2VxlanNetwork", naming.network, {"zoneUuid": zone}, f"zoneUuid={zone}")
    if cluster not in uuids_in(l2, "attachedClusterUuids"):
        run(api, "AttachL2NetworkToCluster", {"l2NetworkUuid": uuid_of(l2), "clusterUuid": cluster})
    l3 = uuid_of(ensure(api, "L3Network", "CreateL3Network", naming.network, {"l2NetworkUuid": uuid_of(l2)}))
    if not api.find("IpRange", f"l3NetworkUuid={l3}"):
        values: Json = {"name": naming.network, "l3NetworkUuid": l3, "networkCidr": naming.cidr}
        run(api, "AddIpRangeByNetworkCidr", values)
    return l3


def primary_storage(api: Api, naming: Naming, zone: str, cluster: str) -> str:
    """The uuid of local storage that the cluster has."""
    values: Json = {"zoneUuid": zone, "url": STORAGE_FOLDER}
    storage = ensure(api, "PrimaryStorage", "AddLocalPrimaryStorage", naming.storage, values, f"zoneUuid={zone}")
    if cluster not in uuids_in(storage, "attachedClusterUuids"):
        values = {"primaryStorageUuid": uuid_of(storage), "clusterUuid": cluster}
        run(api, "AttachPrimaryStorageToCluster", values)
    return uuid_of(storage)


def backup_storage(api: Api, naming: Naming, zone: str, call: str, values: Json) -> str:
    """The uuid of the backup storage that `call` makes, attached to the zone and connected."""
    storage = ensure(api, "BackupStorage", call, naming.backup, values)
    if zone not in uuids_in(storage, "attachedZoneUuids"):
        run(api, "AttachBackupStorageToZone", {"backupStorageUuid": uuid_of(storage), "zoneUuid": zone})
    if storage.get("status") == "Disconnected":
        run(api, "ReconnectBackupStorage", {"uuid": uuid_of(storage)})
    return uuid_of(storage)


def hosts(api: Api, call: str, wanted: Sequence[Json]) -> int:
    """Add the hosts that are not there yet, all at once, and reconnect those that are down; how many were added."""
    there = {str(host["managementIp"]): host for host in api.find("Host")}
    missing = [values for values in wanted if values["managementIp"] not in there]
    jobs = [api.start(call, values) for values in missing]
    for values in wanted:
        host = there.get(str(values["managementIp"]))
        if host is not None and host.get("status") != "Connected":
            jobs.append(api.start("ReconnectHost", {"uuid": uuid_of(host)}))
    for job in jobs:
        api.finish(job)
    return len(missing)


def offering(api: Api, naming: Naming) -> str:
    """The uuid of a small instance offering."""
    values: Json = {"cpuNum": 1, "memorySize": VM_MEMORY_BYTES}
    return uuid_of(ensure(api, "InstanceOffering", "CreateInstanceOffering", naming.offering, values))


def find_image(api: Api, naming: Naming) -> str | None:
    """The uuid of the image, if it is there."""
    found = api.find("Image", f"name={naming.image}", "status=Ready")
    return uuid_of(found[0]) if found else None


def add_image(api: Api, naming: Naming, backup: str, url: str) -> str:
    """The uuid of the image that is fetched from `url`."""
    values: Json = {
        "name": naming.image,
        "url": url,
        "format": "qcow2",
        "mediaType": "RootVolumeTemplate",
        "platform": "Linux",
        "backupStorageUuids": [backup],
    }
    return uuid_of(run(api, "AddImage", values))


def vm(api: Api, image: str, l3: str, size: str, name: str = VM_NAME) -> Json:
    """A running VM of that name: the one that is there, started or resumed if it does not run, or a new one."""
    for found in api.find("VmInstance", f"name={name}", f"vmNics.l3NetworkUuid={l3}"):
        if found.get("state") == "Running":
            return found
        if found.get("state") in ("Stopped", "Crashed", "Created"):
            return run(api, "StartVmInstance", {"uuid": uuid_of(found)})
        if found.get("state") == "Paused":
            return run(api, "ResumeVmInstance", {"uuid": uuid_of(found)})
    values: Json = {"name": name, "imageUuid": image, "l3NetworkUuids": [l3], "instanceOfferingUuid": size}
    return run(api, "CreateVmInstance", values)


def address_of(inventory: Json) -> str:
    """The address of a VM's first network card; empty when it has none."""
    nics = inventory.get("vmNics")
    first = nics[0] if isinstance(nics, list) and nics else None
    return str(first.get("ip") or "") if isinstance(first, dict) else ""
