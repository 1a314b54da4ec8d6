"""What holds between the database and the hosts of every cloud at rest.

A rule is a function of the rows and of what is on the hosts; it gives a line for each thing that is wrong. `test_rules` shows
of each that it can fail. The hosts are as the simulator shows them at ``GET /inspect``, so the rules serve a simulator in the
test's own process and one that is a process of its own alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

from msgspec import Struct

from cairn.simulator.world import SimBridge, SimFile, SimVm

Row = dict[str, object]
Rows = dict[str, dict[str, Row]]


class Lease(Struct, kw_only=True, rename="camel"):
    """An address that a host's DHCP server gives to a VM."""

    network: str
    mac: str
    ip: str
    vm: str


class Metadata(Struct, kw_only=True, rename="camel"):
    """What a host tells a VM."""

    network: str
    ip: str
    vm: str
    hostname: str


class SeenHost(Struct, kw_only=True, rename="camel"):
    """What is on a simulated host."""

    host: str | None
    vms: dict[str, SimVm]
    volumes: dict[str, SimFile]
    images: dict[str, SimFile]
    leases: list[Lease]
    metadata: list[Metadata]
    bridges: dict[str, SimBridge]
    consoles: list[str]


Hosts = dict[str, SeenHost]
BACKUP = "backup"
#: words for a state that only lasts as long as somebody works on it
_STATES = ("state", "status")
_LASTING = frozenset({"Running"})
_ON = ("Running", "Paused")  # states in which a VM is on its host


def journal_is_empty(rows: Rows, hosts: Hosts) -> Iterator[str]:
    """No workflow is open."""
    for row in rows["flow_run"].values():
        yield f"left in the journal: {row}"


def nothing_is_in_between(rows: Rows, hosts: Hosts) -> Iterator[str]:
    """Nothing is Starting, Connecting, Downloading, ..."""
    for table, key, row in _all(rows):
        for column in _STATES:
            state = str(row.get(column))
            if state.endswith("ing") and state not in _LASTING:
                yield f"the {table} {key} is stuck in {state}"


def running_vms_run(rows: Rows, hosts: Hosts) -> Iterator[str]:
    """A VM runs where the database has it, as it is written down, and no other runs."""
    domains = {uuid: (name, vm) for name, host in hosts.items() for uuid, vm in host.vms.items()}
    for uuid, vm in rows["vm_instance"].items():
        name, domain = domains.pop(uuid, (None, None))
        if vm["state"] not in _ON:
            if domain is not None:
                yield f"the VM {uuid} is {vm['state']} in the database and runs on {name}"
            continue
        if domain is None or _uuid_of(hosts, name) != vm["host_uuid"]:
            yield f"the VM {uuid} is {vm['state']} in the database, and on {name} in reality"
            continue
        if domain.state != vm["state"]:
            yield f"the VM {uuid} is {vm['state']} in the database, and {domain.state} in reality"
        macs = {row["mac"] for row in _of_vm(rows, "vm_nic", uuid)}
        disks = {row["install_path"] for row in _of_vm(rows, "volume", uuid)}
        real = (
            domain.hardware.cpu_num,
            domain.hardware.memory_size,
            {n.mac for n in domain.nics},
            {d.path for d in domain.disks},
        )
        if real != (vm["cpu_num"], vm["memory_size"], macs, disks):
            yield f"the VM {uuid} runs with other hardware than it has in the database: {real}"
    for uuid, (name, _) in domains.items():
        yield f"nobody knows the VM {uuid} on {name}"


def volumes_are_files(rows: Rows, hosts: Hosts) -> Iterator[str]:
    """Each volume is a file on the host whose local storage has it, and no file is nobody's."""
    places = {uuid: row["host_uuid"] for uuid, row in rows["local_storage_resource_ref"].items()}
    wanted = {(places.get(uuid), row["install_path"]) for uuid, row in rows["volume"].items()}
    there = {(host.host, path) for host in hosts.values() for path in host.volumes}
    yield from (f"nobody knows the file {file}" for file in there - wanted)
    yield from (f"the file {file} is missing" for file in wanted - there)


def caches_are_files(rows: Rows, hosts: Hosts) -> Iterator[str]:
    """Each cached image is a file on its host, and the other way round."""
    known = {(row["host_uuid"], row["install_path"]) for row in rows["image_cache"].values()}
    wanted = {(row["host_uuid"], row["install_path"]) for row in rows["image_cache"].values() if row["actual_size"]}
    there = {(host.host, path) for name, host in hosts.items() if name != BACKUP for path in host.images}
    # A host that left the cloud keeps its cache; nobody has a use for it there.
    yield from (f"nobody knows the cached image {file}" for file in there - known if file[0] is not None)
    yield from (f"the cached image {file} is missing" for file in wanted - there)


def image_copies_are_files(rows: Rows, hosts: Hosts) -> Iterator[str]:
    """Each copy of an image is a file on the backup storage, and the other way round."""
    wanted = {row["install_path"] for row in rows["image_backup_storage_ref"].values() if not row["given_up"]}
    there = set(hosts[BACKUP].images)
    yield from (f"nobody knows the image {path} on the backup storage" for path in there - wanted)
    yield from (f"the image {path} is missing on the backup storage" for path in wanted - there)


def leases_are_of_nics(rows: Rows, hosts: Hosts) -> Iterator[str]:
    """A host gives addresses to the NICs of its own running VMs, and to no others."""
    there = {(h.host, e.vm, e.network, e.mac, e.ip) for h in hosts.values() for e in h.leases}
    wanted = {(vm["host_uuid"], vm["uuid"], nic["l3_network_uuid"], nic["mac"], nic["ip"]) for vm, nic in _nics(rows)}
    yield from (f"nobody has the lease {lease}" for lease in there - wanted)
    yield from (f"the lease {lease} is missing" for lease in wanted - there)


def metadata_is_of_nics(rows: Rows, hosts: Hosts) -> Iterator[str]:
    """A host has metadata for its own running VMs, and for no others."""
    there = {(h.host, m.vm, m.network, m.ip, m.hostname) for h in hosts.values() for m in h.metadata}
    wanted = {
        (vm["host_uuid"], vm["uuid"], nic["l3_network_uuid"], nic["ip"], vm["hostname"]) for vm, nic in _nics(rows)
    }
    yield from (f"nobody has the metadata {one}" for one in there - wanted)
    yield from (f"the metadata {one} is missing" for one in wanted - there)


def consoles_are_of_vms(rows: Rows, hosts: Hosts) -> Iterator[str]:
    """A console's text is kept as long as its VM is not destroyed."""
    living = {uuid for uuid, vm in rows["vm_instance"].items() if vm["state"] != "Destroyed"}
    for name, host in hosts.items():
        yield from (f"nobody has the console {uuid} on {name}" for uuid in host.consoles if uuid not in living)


def bridges_are_of_networks(rows: Rows, hosts: Hosts) -> Iterator[str]:
    """A host has a bridge for each L2 network of its cluster, with tunnels to all other hosts that have it."""
    clusters = {uuid: row["cluster_uuid"] for uuid, row in rows["host"].items()}
    addresses = {uuid: row["management_ip"] for uuid, row in rows["host"].items()}
    for name, host in hosts.items():
        wanted: dict[object, Row] = {}
        for network in rows["l2_network"].values():
            if clusters.get(host.host or "") in _clusters_of(rows, network["uuid"]):
                wanted[network["vni"] or network["physical_interface"]] = network
        there = {bridge.vni or bridge.physical_interface: bridge for bridge in host.bridges.values()}
        yield from (f"nobody needs the bridge {carries} on {name}" for carries in there.keys() - wanted.keys())
        yield from (f"the bridge {carries} on {name} is missing" for carries in wanted.keys() - there.keys())
        for carries in there.keys() & wanted.keys():
            if there[carries].vni is None:
                continue
            attached = _clusters_of(rows, wanted[carries]["uuid"])
            peers = {addresses[uuid] for uuid, where in clusters.items() if where in attached and uuid != host.host}
            if set(there[carries].peers) != peers:
                yield f"the bridge {carries} on {name} has the peers {there[carries].peers}, not {peers}"


def hosts_are_known(rows: Rows, hosts: Hosts) -> Iterator[str]:
    """A machine that takes itself for a host of the cloud is one."""
    for name, host in hosts.items():
        if host.host is not None and host.host not in {*rows["host"], *rows["backup_storage"]}:
            yield f"nobody knows the host {name}"


def hosts_are_booked_rightly(rows: Rows, hosts: Hosts) -> Iterator[str]:
    """What is free on a host is what there is less what its VMs hold, and only VMs that run hold anything."""
    for uuid, host in rows["host"].items():
        claims = [claim for claim in rows["host_claim"].values() if claim["host_uuid"] == uuid]
        if _rest(host, "memory", claims, "memory_bytes"):
            yield f"the host {uuid} has its memory booked wrongly"
        if _rest(host, "cpu", claims, "cpu_num"):
            yield f"the host {uuid} has its CPUs booked wrongly"
    running = {uuid: vm["host_uuid"] for uuid, vm in rows["vm_instance"].items() if vm["state"] in _ON}
    held = {uuid: claim["host_uuid"] for uuid, claim in rows["host_claim"].items()}
    yield from (f"the VM {vm} holds a host and does not run" for vm in held.keys() - running.keys())
    for vm, where in running.items():
        if held.get(vm) != where:
            yield f"the VM {vm} runs on {where} and holds {held.get(vm)}"


def storage_is_booked_rightly(rows: Rows, hosts: Hosts) -> Iterator[str]:
    """What is booked on a host's disk is what is kept there, volumes and cached images, and only what exists is kept."""
    kept, caches = rows["local_storage_resource_ref"], rows["image_cache"]
    for share in rows["local_storage_host_ref"].values():
        host = share["host_uuid"]
        used = sum(_int(one["size"]) for one in kept.values() if one["host_uuid"] == host)
        used += sum(_int(one["actual_size"]) for one in caches.values() if one["host_uuid"] == host)
        if used != _int(share["booked_capacity"]):
            yield f"the local storage of {host} is booked wrongly"
        if _int(share["available_capacity"]) > max(0, _int(share["total_capacity"]) - used):
            yield f"the local storage of {host} shows more than it has"
    for uuid in kept.keys() - rows["volume"].keys() - rows["image_cache"].keys() - rows["image"].keys():
        yield f"nobody has what is kept for {uuid}"


def addresses_are_used(rows: Rows, hosts: Hosts) -> Iterator[str]:
    """Each address that is taken is a NIC's or a DHCP server's."""
    used = {row["used_ip_uuid"] for row in rows["vm_nic"].values()}
    servers = {row["used_ip_uuid"] for row in rows["flat_dhcp_server"].values()}
    for uuid, row in rows["used_ip"].items():
        if uuid not in used | servers:
            yield f"nobody uses the address {row['ip']}"
    for uuid, nic in rows["vm_nic"].items():
        address = rows["used_ip"].get(str(nic["used_ip_uuid"]))
        if address is None or address["ip"] != nic["ip"]:
            yield f"the NIC {uuid} has the address {nic['ip']}, which is not its own"


def vms_have_their_parts(rows: Rows, hosts: Hosts) -> Iterator[str]:
    """Each VM has its root volume, and no volume or NIC is of a VM that is gone."""
    for uuid, vm in rows["vm_instance"].items():
        if vm["root_volume_uuid"] not in rows["volume"]:
            yield f"the VM {uuid} has no root volume"
    for table in ("volume", "vm_nic"):
        for uuid, row in rows[table].items():
            if row["vm_instance_uuid"] not in rows["vm_instance"]:
                yield f"the {table} {uuid} is of a VM that is gone"


def tags_are_of_resources(rows: Rows, hosts: Hosts) -> Iterator[str]:
    """Each tag is on something that exists."""
    there = {key for _, key, _ in _all(rows)}
    for table in ("system_tag", "user_tag"):
        for row in rows[table].values():
            if row["resource_uuid"] not in there:
                yield f"the tag {row['tag']} is on {row['resource_uuid']}, which is gone"


RULES: tuple[Callable[[Rows, Hosts], Iterator[str]], ...] = (
    journal_is_empty,
    nothing_is_in_between,
    running_vms_run,
    volumes_are_files,
    caches_are_files,
    image_copies_are_files,
    leases_are_of_nics,
    metadata_is_of_nics,
    consoles_are_of_vms,
    bridges_are_of_networks,
    hosts_are_known,
    hosts_are_booked_rightly,
    storage_is_booked_rightly,
    addresses_are_used,
    vms_have_their_parts,
    tags_are_of_resources,
)


def broken(rows: Rows, hosts: Hosts) -> list[str]:
    """What is wrong; nothing, in a cloud at rest."""
    return [line for rule in RULES for line in rule(rows, hosts)]


def _all(rows: Rows) -> Iterator[tuple[str, str, Row]]:
    for table, there in rows.items():
        for key, row in there.items():
            yield table, key, row


def _uuid_of(hosts: Hosts, name: str | None) -> str | None:
    return hosts[name].host if name else None


def _of_vm(rows: Rows, table: str, vm: str) -> list[Row]:
    return [row for row in rows[table].values() if row["vm_instance_uuid"] == vm]


def _nics(rows: Rows) -> Iterator[tuple[Row, Row]]:
    """The NICs of running VMs in networks with a flat DHCP server."""
    for nic in rows["vm_nic"].values():
        vm = rows["vm_instance"].get(str(nic["vm_instance_uuid"]))
        if vm is not None and vm["state"] in _ON and str(nic["l3_network_uuid"]) in rows["flat_dhcp_server"]:
            yield vm, nic


def _clusters_of(rows: Rows, network: object) -> set[object]:
    return {row["cluster_uuid"] for row in rows["l2_network_cluster_ref"].values() if row["l2_network_uuid"] == network}


def _rest(host: Row, what: str, claims: list[Row], column: str) -> int:
    held = sum(_int(claim[column]) for claim in claims)
    return _int(host[f"total_{what}_capacity"]) - held - _int(host[f"available_{what}_capacity"])


def _int(value: object) -> int:
    return cast("int", value)
