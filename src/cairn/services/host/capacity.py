"""The capacity of hosts, as the settings have it.

A claim compares with what a host's row says is available, so that it is one statement over an index. So when a setting changes
the rows are computed anew, all of them in one statement, from what the machines have.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, ColumnElement, Float, Update, bindparam, case, cast, update

from cairn.kernel.config import GlobalConfig
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Store, Tx
from cairn.services.host import config
from cairn.services.host.model import Host

_host = table_of(Host)
_LEFT: ColumnElement[int] = _host.c.memory_bytes - bindparam("reserve", type_=BigInteger)
_MEMORY: ColumnElement[int] = case((_LEFT > 0, _LEFT), else_=0)
_CPUS: ColumnElement[int] = cast(_host.c.cpu_num * bindparam("ratio", type_=Float), BigInteger)
#: What is available comes first: where assignments count one after the other, it still needs the old totals.
_ANEW: Update = (
    update(_host)
    .where(_host.c.memory_bytes > 0)
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
        """Apply the settings to all hosts. Safe to repeat."""
        await self._store.write(self.apply)

    def apply(self, tx: Tx) -> None:
        """Compute all rows anew; what VMs hold stays taken. A host that has less than they hold is shown with less than 0."""
        terms = {"ratio": self._settings.get(config.CPU_RATIO), "reserve": self._settings.get(config.RESERVED_MEMORY)}
        tx.execute(_ANEW, terms)
