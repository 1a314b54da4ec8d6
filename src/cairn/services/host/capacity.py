"""The capacity of hosts, as the settings have it.

A claim compares with what a host's row says is available, so that it is one statement over an index. So when a setting changes
the rows are computed anew, all of them in one statement, from what the machines have. Whether any is off is looked up before,
where it holds up nobody: it is looked at each hour, since a host may connect while a setting changes.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, ColumnElement, Float, Update, bindparam, case, cast, or_, select, update

from cairn.kernel.config import GlobalConfig
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Store, Tx
from cairn.services.host import config
from cairn.services.host.model import Host

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


def totals(settings: GlobalConfig, cpu_num: int, memory_bytes: int) -> tuple[int, int]:
    """The virtual CPUs and the bytes of memory that a machine may give to VMs."""
    return int(cpu_num * settings.get(config.CPU_RATIO)), max(0, memory_bytes - settings.get(config.RESERVED_MEMORY))


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
