"""The books of a whole cloud, checked in the database: what is free, claimed and used agrees.

Each rule is one statement that counts what is wrong. They look at all rows, so they are for measurements and for after them.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, Select, Subquery, and_, func, or_, select
from sqlalchemy.sql.expression import FromClause

from cairn.kernel.resource import Resource
from cairn.kernel.store.record import table_of
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Tx
from cairn.services.host.model import Host, HostClaim
from cairn.services.l3.model import IpRange, UsedIp
from cairn.services.vm.model import VmInstance, VmNic, VmState
from cairn.services.volume.model import Volume

_host, _claim, _vm = table_of(Host), table_of(HostClaim), table_of(VmInstance)
_nic, _ip, _range, _volume, _resource = (
    table_of(VmNic),
    table_of(UsedIp),
    table_of(IpRange),
    table_of(Volume),
    table_of(Resource),
)
#: states in which a VM is on its host
_ON: Final = (VmState.RUNNING, VmState.PAUSED)
Rule = Select[*tuple[object, ...]]


def _count(of: FromClause, *wrong: ColumnElement[bool]) -> Rule:
    return select(func.count()).select_from(of).where(*wrong)


def _sums(table: FromClause, by: str, *columns: str) -> Subquery:
    return (
        select(table.c[by], *(func.sum(table.c[name]).label(name) for name in columns)).group_by(table.c[by]).subquery()
    )


_held = _sums(_claim, "host_uuid", "cpu_num", "memory_bytes")
_RULES: Final[dict[str, Rule]] = {
    "hosts whose CPUs or memory are booked wrongly": _count(
        _host.outerjoin(_held, _held.c.host_uuid == _host.c.uuid),
        or_(
            _host.c.total_cpu_capacity - _host.c.available_cpu_capacity != func.coalesce(_held.c.cpu_num, 0),
            _host.c.total_memory_capacity - _host.c.available_memory_capacity != func.coalesce(_held.c.memory_bytes, 0),
        ),
    ),
    "VMs that run and do not hold their host": _count(
        _vm.outerjoin(_claim, _claim.c.vm_uuid == _vm.c.uuid),
        _vm.c.state.in_(_ON),
        or_(_claim.c.host_uuid.is_(None), _claim.c.host_uuid != _vm.c.host_uuid),
    ),
    "claims of VMs that do not run": _count(
        _claim.outerjoin(_vm, _vm.c.uuid == _claim.c.vm_uuid), or_(_vm.c.uuid.is_(None), _vm.c.state.not_in(_ON))
    ),
    "VMs without their root volume": _count(
        _vm.outerjoin(_volume, _volume.c.uuid == _vm.c.root_volume_uuid),
        or_(_volume.c.uuid.is_(None), _volume.c.vm_instance_uuid != _vm.c.uuid),
    ),
    "network cards whose address is not theirs": _count(
        _nic.outerjoin(_ip, _ip.c.uuid == _nic.c.used_ip_uuid),
        or_(_ip.c.uuid.is_(None), _ip.c.ip != _nic.c.ip, _ip.c.used_for != _nic.c.vm_instance_uuid),
    ),
    "addresses of VMs that no network card has": _count(
        _ip.outerjoin(_nic, and_(_nic.c.vm_instance_uuid == _ip.c.used_for, _nic.c.used_ip_uuid == _ip.c.uuid)),
        _ip.c.used_for.is_not(None),
        _nic.c.uuid.is_(None),
    ),
    "addresses that their range has yet to give out": _count(
        _ip.join(_range, _range.c.uuid == _ip.c.ip_range_uuid), _ip.c.ip_in_long >= _range.c.next_long
    ),
    **{
        f"{name} that are no resources, or another account's": _count(
            table.outerjoin(_resource, _resource.c.uuid == table.c.uuid),
            or_(_resource.c.uuid.is_(None), _resource.c.account_uuid != table.c.account_uuid),
        )
        for name, table in (("VMs", _vm), ("volumes", _volume))
    },
}


def wrong_books(tx: Tx, schema: Schema) -> list[str]:
    """What is wrong, a line for each kind with how many there are; nothing, in a cloud at rest."""
    rules = {**_RULES, **_local_storage(schema)}
    counts = ((what, tx.rows(rule)[0][0]) for what, rule in rules.items())
    return [f"{count} {what}" for what, count in counts if count]


def _local_storage(schema: Schema) -> dict[str, Rule]:
    """The rules of local storage, where that plugin is."""
    names = ("local_storage_host_ref", "local_storage_resource_ref", "image_cache")
    if any(name not in schema.by_table for name in names):
        return {}
    share, volume, cache = (schema.by_table[name].table for name in names)
    volumes, caches = _sums(volume, "host_uuid", "size"), _sums(cache, "host_uuid", "actual_size")
    used = func.coalesce(volumes.c.size, 0) + func.coalesce(caches.c.actual_size, 0)
    joined = share.outerjoin(volumes, volumes.c.host_uuid == share.c.host_uuid).outerjoin(
        caches, caches.c.host_uuid == share.c.host_uuid
    )
    return {
        "hosts whose disks are booked wrongly": _count(joined, share.c.booked_capacity != used),
        "hosts that show more free disk than they have": _count(
            joined, share.c.available_capacity > share.c.total_capacity - used
        ),
    }
