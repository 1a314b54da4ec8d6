"""The capacities of a whole local storage: the sums over its hosts, kept by what changes.

Each host's row says how much of it is in the sums. So bringing them up to date costs something for each host that has changed,
and nothing for the others. What one node adds no other adds once more: the rows are locked first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, Update, bindparam, func, or_, select, update
from sqlalchemy.types import BigInteger

from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Tx
from cairn.plugins.local_storage.model import LocalStorageHost
from cairn.services.ids import HostId, PrimaryStorageId
from cairn.services.primary_storage.model import PrimaryStorage

#: the capacities that a storage has in common with its hosts' shares
CAPACITIES: Final = (
    "total_capacity",
    "available_capacity",
    "total_physical_capacity",
    "available_physical_capacity",
)
_AT_A_TIME: Final = 500

_share, _storage = table_of(LocalStorageHost), table_of(PrimaryStorage)
_OF_STORAGE: ColumnElement[bool] = _share.c.primary_storage_uuid == bindparam("storage")
_OF_HOSTS: ColumnElement[bool] = _share.c.host_uuid.in_(bindparam("hosts", expanding=True))
_IS_OFF: ColumnElement[bool] = or_(*(_share.c[name] != _share.c[f"summed_{name}"] for name in CAPACITIES))


def _sum(column: ColumnElement[Any]) -> ColumnElement[int]:
    return func.coalesce(func.sum(column), 0)


#: what of some hosts is not in the sums yet, and of all hosts what should be
_missing: list[ColumnElement[Any]] = [_sum(_share.c[name] - _share.c[f"summed_{name}"]) for name in CAPACITIES]
_whole: list[ColumnElement[Any]] = [_sum(_share.c[name]) for name in CAPACITIES]
_MISSING: Select[Any] = select(*_missing).where(_OF_STORAGE, _OF_HOSTS).with_for_update()
_ALL: Select[Any] = select(*_whole).where(_OF_STORAGE).with_for_update()
_NOTED: Update = (
    update(_share).where(_OF_STORAGE, _IS_OFF).values({f"summed_{name}": _share.c[name] for name in CAPACITIES})
)
_NOTED_OF_HOSTS: Update = _NOTED.where(_OF_HOSTS)
_ADD: Update = (
    update(_storage)
    .where(_storage.c.uuid == bindparam("storage"))
    .values({name: _storage.c[name] + bindparam(f"more_{name}", type_=BigInteger) for name in CAPACITIES})
)


def add_up(tx: Tx, storage: PrimaryStorageId, hosts: Iterable[HostId]) -> None:
    """Bring a storage's sums up to date with some hosts. Safe to repeat; a host without a share adds nothing."""
    ordered = sorted(hosts)
    for start in range(0, len(ordered), _AT_A_TIME):
        given = {"storage": storage, "hosts": ordered[start : start + _AT_A_TIME]}
        more = _numbers(tx.rows(_MISSING, given))
        if any(more):
            tx.execute(_NOTED_OF_HOSTS, given)
            _add(tx, storage, more)


def add_up_all(tx: Tx, storage: PrimaryStorage) -> None:
    """Sum up all hosts' shares of a storage, whatever the sums were. Safe to repeat."""
    sums = dict(zip(CAPACITIES, _numbers(tx.rows(_ALL, {"storage": storage.uuid})), strict=True))
    tx.execute(_NOTED, {"storage": storage.uuid})
    if any(getattr(storage, name) != value for name, value in sums.items()):
        tx.update(PrimaryStorage, storage.uuid, **sums)


def take_away(tx: Tx, share: LocalStorageHost) -> None:
    """Take a share that was just deleted out of its storage's sums."""
    _add(tx, share.primary_storage_uuid, [-getattr(share, f"summed_{name}") for name in CAPACITIES])


def _add(tx: Tx, storage: PrimaryStorageId, more: Sequence[int]) -> None:
    values = {f"more_{name}": value for name, value in zip(CAPACITIES, more, strict=True)}
    tx.execute(_ADD, {"storage": storage, **values})


def _numbers(rows: list[tuple[object, ...]]) -> list[int]:
    return [int(str(number)) for number in rows[0]]
