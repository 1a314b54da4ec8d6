"""The capacity of hosts, as the settings have it.

A claim compares with what a host's row says is available, so that it is one statement over an index. So when a setting changes
the rows are computed anew, all of them in one statement, from what the machines have. Whether any is off is looked up before,
where it holds up nobody: it is looked at each hour, since a host may connect while a setting changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Float,
    Select,
    Update,
    bindparam,
    case,
    cast,
    func,
    or_,
    select,
    update,
)

from cairn.kernel.config import GlobalConfig
from cairn.kernel.health import Audit
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Store, Tx
from cairn.services.host import config
from cairn.services.host.model import Host, HostClaim

_host = table_of(Host)
_LEFT: ColumnElement[int] = _host.c.memory_bytes - bindparam("reserve", type_=BigInteger)
_MEMORY: ColumnElement[int] = case((_LEFT > 0, _LEFT), else_=0)
_CPUS: ColumnElement[int] = cast(_host.c.cpu_num * bindparam("ratio", type_=Float), BigInteger)
_OFF = (_host.c.memory_bytes > 0, or_(_host.c.total_cpu_capacity != _CPUS, _host.c.total_memory_capacity != _MEMORY))
_ANY_OFF = select(_host.c.uuid).where(*_OFF).limit(1)
#: What is available comes first: where assignments count one after the other, it still needs the old totals.
_ANEW: Update = (
    update(_host)
    .where(*_OFF)
    .values(
        available_cpu_capacity=_host.c.available_cpu_capacity + _CPUS - _host.c.total_cpu_capacity,
        available_memory_capacity=_host.c.available_memory_capacity + _MEMORY - _host.c.total_memory_capacity,
        total_cpu_capacity=_CPUS,
        total_memory_capacity=_MEMORY,
    )
)


_claim = table_of(HostClaim)
_HELD = (
    select(
        _claim.c.host_uuid,
        func.sum(_claim.c.cpu_num).label("cpus"),
        func.sum(_claim.c.memory_bytes).label("memory"),
    )
    .group_by(_claim.c.host_uuid)
    .subquery()
)
_CPUS_OFF = _host.c.total_cpu_capacity - _host.c.available_cpu_capacity - func.coalesce(_HELD.c.cpus, 0)
_MEMORY_OFF = _host.c.total_memory_capacity - _host.c.available_memory_capacity - func.coalesce(_HELD.c.memory, 0)
_WRONG: Select[Any] = (
    select(_host.c.name, _host.c.uuid, _CPUS_OFF, _MEMORY_OFF)
    .select_from(_host.outerjoin(_HELD, _HELD.c.host_uuid == _host.c.uuid))
    .where(or_(_CPUS_OFF != 0, _MEMORY_OFF != 0), _host.c.memory_bytes > 0)
    .order_by(_host.c.uuid)
)


def totals(settings: GlobalConfig, cpu_num: int, memory_bytes: int) -> tuple[int, int]:
    """The virtual CPUs and the bytes of memory that a machine may give to VMs."""
    return int(cpu_num * settings.get(config.CPU_RATIO)), max(0, memory_bytes - settings.get(config.RESERVED_MEMORY))


def _wrong(tx: Tx) -> Iterable[str]:
    """The hosts whose capacity is not what they have less what is claimed of them."""
    for name, uuid, cpus, memory in tx.rows(_WRONG):
        yield f"The host {name} ({uuid}) is {cpus} CPUs and {memory} bytes of memory off from what its VMs hold."


BOOKS = Audit("host capacity", "Reconnect the host (`cairn reconnect-host`): its capacity is summed up anew.", _wrong)


class HostCapacity:
    """Computes the capacity of all hosts anew."""

    def __init__(self, store: Store, settings: GlobalConfig) -> None:
        self._store = store
        self._settings = settings

    async def compute(self) -> None:
        """Apply the settings to all hosts that are not as they say. Safe to repeat."""
        if await self._store.read(self._is_off):
            await self._store.write(self._apply)

    def _is_off(self, tx: Tx) -> bool:
        return bool(tx.rows(_ANY_OFF, self._terms()))

    def _apply(self, tx: Tx) -> None:
        """Compute rows anew; what VMs hold stays taken. A host that has less than they hold is shown with less than 0."""
        tx.execute(_ANEW, self._terms())

    def _terms(self) -> dict[str, float]:
        return {"ratio": self._settings.get(config.CPU_RATIO), "reserve": self._settings.get(config.RESERVED_MEMORY)}
