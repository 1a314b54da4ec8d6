"""The capacity of a whole local storage: the sum of its hosts' shares, brought up to date a second after they change."""

from __future__ import annotations

from sqlalchemy import ColumnElement, bindparam, func, select

from cairn.kernel.clock import Clock
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Store, Tx
from cairn.plugins.local_storage.model import TYPE, LocalStorageHost
from cairn.plugins.local_storage.space import DiskSpace, Touched
from cairn.services.ids import PrimaryStorageId
from cairn.services.primary_storage.model import PrimaryStorage

_GATHER_SECONDS = 1.0
_space = table_of(LocalStorageHost)


def _sum(column: ColumnElement[int]) -> ColumnElement[int]:
    return func.coalesce(func.sum(column), 0)


_SUMS = select(
    _sum(_space.c.total_capacity),
    _sum(_space.c.available_capacity),
    _sum(_space.c.total_physical_capacity),
    _sum(_space.c.available_physical_capacity),
).where(_space.c.primary_storage_uuid == bindparam("storage"))


class Sums:
    """Sums up the storages that were touched, all changes of a second at once; and has settings show when they change."""

    def __init__(self, store: Store, clock: Clock, space: DiskSpace, touched: Touched) -> None:
        self._store = store
        self._clock = clock
        self._space = space
        self._touched = touched
        self._anew = True  #: a setting changed, or may have changed before the start

    def setting_changed(self) -> None:
        """Compute what is shown of all disks anew."""
        self._anew = True
        self._touched.add_all()

    async def gather(self) -> None:
        """Let a second pass, so that one sum stands for all changes in it, and sum up; nothing was touched: do nothing."""
        if self._touched:
            await self._clock.sleep(_GATHER_SECONDS)
            await self.sum_up()

    async def sum_up(self) -> None:
        """Sum up the storages that were touched. Safe to repeat."""
        anew, self._anew = self._anew, False
        touched = self._touched.take()

        def fn(tx: Tx) -> None:
            if anew:
                self._space.anew(tx)
            for storage in _those(tx, touched):
                sum_up(tx, storage)

        try:
            await self._store.write(fn)
        except BaseException:
            self.setting_changed()  # what was touched is not known any more
            raise


def _those(tx: Tx, storages: set[PrimaryStorageId] | None) -> list[PrimaryStorage]:
    """The storages (None: all) whose sums are to be written. Locked: of several who sum up, the last to write has looked last."""
    if storages is None:
        return tx.find(PrimaryStorage, type=TYPE, order_by="uuid", lock=True)
    return tx.find(PrimaryStorage, uuid=sorted(storages), order_by="uuid", lock=True) if storages else []


def sum_up(tx: Tx, storage: PrimaryStorage) -> None:
    """Write the sums of a storage down, if they are others."""
    total, available, physical, free = (int(str(number)) for number in tx.rows(_SUMS, {"storage": storage.uuid})[0])
    values = {
        "total_capacity": total,
        "available_capacity": available,
        "total_physical_capacity": physical,
        "available_physical_capacity": free,
    }
    if any(getattr(storage, name) != value for name, value in values.items()):
        tx.update(PrimaryStorage, storage.uuid, **values)
