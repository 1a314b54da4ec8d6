"""Everything there is, comparable: in the database, and on the simulated hosts. For tests that nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from cairn.kernel.store.record import Record
from cairn.kernel.store.store import Tx
from cairn.simulator.control import inspect_host
from cairn.testing.cloud import Cloud

Rows = dict[str, dict[str, dict[str, object]]]

#: records of what happened, not of what is
HISTORY = frozenset(
    {
        "commit_mark",
        "commit_sequence",
        "event",
        "event_cursor",
        "former_uuid",
        "host_changes",
        "invalidation",
        "job",
        "management_node",
        "released_ip",
        "ring_epoch",
        "session",
    }
)
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

#: tables whose capacities follow what pings say of disks; what is booked there is exact
_MEASURED = ("backup_storage", "local_storage_host_ref", "primary_storage")

Snapshot = dict[str, object]


def all_rows(tx: Tx, records: Iterable[type[Record]]) -> Rows:
    """All rows of what is, by table and key."""
    found: Rows = {}
    for record in records:
        if record.meta.table not in HISTORY:
            key = record.__struct_fields__[0]
            rows = [msgspec.structs.asdict(row) for row in tx.find(record)]
            found[record.meta.table] = {str(row[key]): row for row in rows}
    return found


def database(cloud: Cloud) -> Rows:
    """All rows of a cloud."""
    records = [record for manifest in cloud.node.loaded.manifests for record in manifest.records]
    return cloud.read_now(lambda tx: all_rows(tx, records))


def snapshot(cloud: Cloud) -> Snapshot:
    """Everything, comparable, but for what cannot be taken back: that a VM ran, or was booted again."""
    tables = {
        table: {key: {name: row[name] for name in row if not _is_volatile(table, name)} for key, row in rows.items()}
        for table, rows in database(cloud).items()
    }
    seen = {name: _seen(inspect_host(host)) for name, host in cloud.world.hosts.items()}
    return {"database": tables, "hosts": seen}


def _seen(host: dict[str, object]) -> dict[str, object]:
    plain = msgspec.json.decode(msgspec.json.encode(host), type=dict[str, object])
    for name in ("consoles", "storage"):  # a folder that was prepared is empty, and may stay
        plain.pop(name, None)
    vms = plain.get("vms")
    for vm in vms.values() if isinstance(vms, dict) else ():
        vm["boots"] = 1
    return plain


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
    measured = table in _MEASURED and column.endswith("_capacity") and not column.startswith("booked")
    return measured or column in VOLATILE or column.startswith("next_")
