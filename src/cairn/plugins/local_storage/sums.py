"""The capacity of a whole local storage: the sum of its hosts' shares, brought up to date a second after they change."""

from __future__ import annotations

from cairn.kernel.clock import Clock
from cairn.kernel.store.store import Store, Tx
from cairn.plugins.local_storage.model import TYPE
from cairn.plugins.local_storage.space import DiskSpace, Touched
from cairn.plugins.local_storage.totals import add_up, add_up_all
from cairn.services.primary_storage.model import PrimaryStorage

_GATHER_SECONDS = 1.0


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
        """Sum up what was touched; when a node starts, and after a setting changed, all. Safe to repeat."""
        anew, self._anew = self._anew, False
        touched = self._touched.take()

        def fn(tx: Tx) -> None:
            if anew:
                self._space.anew(tx)
            if touched is None:
                for storage in tx.find(PrimaryStorage, type=TYPE, order_by="uuid", lock=True):
                    add_up_all(tx, storage)
                return
            for uuid in sorted(touched):
                if tx.get(PrimaryStorage, uuid, lock=True) is not None:  # of several who sum up, one after the other
                    add_up(tx, uuid, touched[uuid])

        try:
            await self._store.write(fn)
        except BaseException:
            self.setting_changed()  # what was touched is not known any more
            raise
