"""The capacity of a whole local storage: the sum of its hosts' shares, brought up to date a second after they change."""

from __future__ import annotations

import asyncio

import structlog
from sqlalchemy import ColumnElement, bindparam, func, select

from cairn.kernel.clock import Clock
from cairn.kernel.config import GlobalConfig
from cairn.kernel.error import CairnError
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Store, Tx
from cairn.plugins.local_storage import config
from cairn.plugins.local_storage.model import TYPE, LocalStorageHost
from cairn.plugins.local_storage.space import DiskSpace, Touched
from cairn.services.ids import PrimaryStorageId
from cairn.services.primary_storage.model import PrimaryStorage

_log = structlog.get_logger("cairn.local-storage")
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

    def __init__(self, store: Store, clock: Clock, settings: GlobalConfig, space: DiskSpace, touched: Touched) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._space = space
        self._touched = touched
        self._anew = True  #: a setting changed, or may have changed before the start
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin, with all storages."""
        for setting in (config.OVER_PROVISIONING, config.RESERVED):
            self._settings.listen(setting, self._setting_changed)
        self._touched.add_all()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="sums of local storage")

    async def stop(self) -> None:
        """End; what is not summed up yet is at the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _setting_changed(self) -> None:
        self._anew = True
        self._touched.add_all()

    async def _run(self) -> None:
        while True:
            await self._touched.wake.wait()
            await self._clock.sleep(_GATHER_SECONDS)
            try:
                await self.sum_up()
            except CairnError as error:
                _log.warning("local-storage.not-summed-up", error=str(error))
                self._setting_changed()

    async def sum_up(self) -> None:
        """Sum up the storages that were touched. Safe to repeat."""
        anew, self._anew = self._anew, False
        touched = self._touched.take()

        def fn(tx: Tx) -> None:
            if anew:
                self._space.anew(tx)
            for storage in tx.find(PrimaryStorage, type=TYPE) if touched is None else _those(tx, touched):
                sum_up(tx, storage)

        await self._store.write(fn)


def _those(tx: Tx, storages: set[PrimaryStorageId]) -> list[PrimaryStorage]:
    return tx.find(PrimaryStorage, uuid=sorted(storages)) if storages else []


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
