"""What the generated workflow tests look at: everything there is, in the database and on the simulated hosts."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from cairn.kernel.store.store import Tx
from cairn.simulator.control import inspect_host
from cairn.testing.cloud import Cloud

#: records of what happened, not of what is
HISTORY = frozenset({"job", "event", "event_cursor", "session", "management_node", "ring_epoch", "released_ip"})
#: columns that may differ when all else is as before
VOLATILE = frozenset(
    {
        "last_op_date",
        "create_date",
        "agent_boot",
        "state_reason",
        "status_reason",
        "last_host_uuid",
        "heart_beat",
        "available_physical_capacity",
    }
)

Snapshot = dict[str, object]


def database(cloud: Cloud) -> dict[str, dict[str, dict[str, object]]]:
    """All rows, by table and key."""
    found: dict[str, dict[str, dict[str, object]]] = {}
    records = [record for manifest in cloud.node.loaded.manifests for record in manifest.records]

    def fn(tx: Tx) -> None:
        for record in records:
            if record.meta.table in HISTORY:
                continue
            rows = [msgspec.structs.asdict(row) for row in tx.find(record)]
            key = record.__struct_fields__[0]
            found[record.meta.table] = {
                str(row[key]): {name: value for name, value in row.items() if not _is_volatile(record.meta.table, name)}
                for row in rows
            }

    cloud.read_now(fn)
    return found


def hosts(cloud: Cloud) -> dict[str, object]:
    """What is on each simulated host."""
    found: dict[str, object] = {}
    for name, host in cloud.world.hosts.items():
        seen = inspect_host(host)
        found[name] = {
            key: value for key, value in seen.items() if key not in ("tasks", "boot", "reportUrl", "consoles")
        }
    return found


def snapshot(cloud: Cloud) -> Snapshot:
    """Everything, comparable."""
    return {"database": database(cloud), "hosts": hosts(cloud)}


def differences(before: object, after: object, path: str = "") -> list[str]:
    """Where two snapshots differ, a line each."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        lines: list[str] = []
        for key in sorted({*before, *after}, key=str):
            if key not in before:
                lines.append(f"{path}/{key}: new: {after[key]}")
            elif key not in after:
                lines.append(f"{path}/{key}: gone: {before[key]}")
            else:
                lines += differences(before[key], after[key], f"{path}/{key}")
        return lines
    return [] if before == after else [f"{path}: {before!r} -> {after!r}"]


def _is_volatile(table: str, column: str) -> bool:
    measured = table == "backup_storage" and column.endswith("_capacity")
    return measured or column in VOLATILE or column.startswith("next_")


def broken_rules(cloud: Cloud) -> list[str]:
    """What is wrong between the database and the hosts; nothing, in a cloud at rest."""
    rows = database(cloud)
    lines = [f"left in the journal: {row}" for row in rows["flow_run"].values()]
    lines += _wrong_vms(cloud, rows)
    lines += _wrong_claims(rows)
    lines += _wrong_addresses(rows)
    return lines


def _wrong_vms(cloud: Cloud, rows: dict[str, dict[str, dict[str, object]]]) -> list[str]:
    lines: list[str] = []
    names = {row["uuid"]: str(row["name"]) for row in rows["host"].values()}
    running = {uuid: name for name, host in cloud.world.hosts.items() for uuid in host.vms}
    for uuid, vm in rows["vm_instance"].items():
        state = str(vm["state"])
        if state.endswith("ing") and state != "Running":
            lines.append(f"the VM {uuid} is stuck in {state}")
        if state == "Running" and running.get(uuid) != names.get(vm["host_uuid"]):
            lines.append(f"the VM {uuid} is Running in the database, and on {running.get(uuid)} in reality")
        if state != "Running" and uuid in running:
            lines.append(f"the VM {uuid} is {state} in the database and runs on {running[uuid]}")
    lines += [
        f"nobody knows the VM {uuid} on {name}" for uuid, name in running.items() if uuid not in rows["vm_instance"]
    ]
    paths = {str(row["install_path"]) for row in rows["volume"].values()}
    files = {path for host in cloud.world.hosts.values() for path in host.volumes}
    lines += [f"nobody knows the file {path}" for path in files - paths]
    lines += [f"the file {path} is missing" for path in paths - files]
    return lines


def _wrong_claims(rows: dict[str, dict[str, dict[str, object]]]) -> list[str]:
    lines: list[str] = []
    for uuid, host in rows["host"].items():
        claims = [claim for claim in rows["host_claim"].values() if claim["host_uuid"] == uuid]
        held = sum(_int(claim["memory_bytes"]) for claim in claims)
        if _int(host["total_memory_capacity"]) - held != _int(host["available_memory_capacity"]):
            lines.append(f"the host {uuid} has its memory booked wrongly")
        cpus = sum(_int(claim["cpu_num"]) for claim in claims)
        if _int(host["total_cpu_capacity"]) - cpus != _int(host["available_cpu_capacity"]):
            lines.append(f"the host {uuid} has its CPUs booked wrongly")
    on_host = {uuid for uuid, vm in rows["vm_instance"].items() if vm["state"] == "Running"}
    lines += [f"the VM {vm} holds a host and does not run" for vm in rows["host_claim"].keys() - on_host]
    for share in rows["local_storage_host_ref"].values():
        volumes = [v for v in rows["local_storage_resource_ref"].values() if v["host_uuid"] == share["host_uuid"]]
        used = sum(_int(volume["size"]) for volume in volumes)
        if _int(share["total_capacity"]) - used != _int(share["available_capacity"]):
            lines.append(f"the local storage of {share['host_uuid']} is booked wrongly")
    return lines


def _wrong_addresses(rows: dict[str, dict[str, dict[str, object]]]) -> list[str]:
    used = {str(row["used_ip_uuid"]) for row in rows["vm_nic"].values()}
    servers = {str(row["used_ip_uuid"]) for row in rows.get("flat_dhcp_server", {}).values()}
    return [
        f"nobody uses the address {row['ip']}" for uuid, row in rows["used_ip"].items() if uuid not in used | servers
    ]


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value
