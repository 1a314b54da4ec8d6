"""The space of hosts' disks: what is given out, what is left, and how full they are.

What is known of a disk lies in the rows of all storages that are on it (`LocalStorageHost`, with the same `file_system`): its
size and what is free, as the last ping told; what is taken by things that are not the cloud's; and what is booked. Those rows
are always changed together, so a disk is counted once, however many storages are on it.

A claim is one statement, which compares with the smaller of two numbers:

    ratio x (the disk - what is not the cloud's - the reserve) - booked     what may be promised
    ratio x (what is free - the reserve)                                   what is really there

Ratio and reserve are settings, and are parameters of that statement; so a change counts from the next claim on. The
capacities that a row shows follow from it, and are computed anew with each change of it, and for all rows when a setting
changes.

The sums of a whole storage are brought up to date a second after a change, for all changes of that second together: a sum over
all hosts with each VM would cost more with each host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from msgspec import Struct
from sqlalchemy import BigInteger, ColumnElement, Float, Select, Update, bindparam, case, cast, func, select, update
from sqlalchemy.sql.expression import FromClause

from cairn.agents.protocol.wire import Space
from cairn.kernel.config import GlobalConfig
from cairn.kernel.event import Events
from cairn.kernel.health import Audit
from cairn.kernel.ids import IdSource
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Tx
from cairn.plugins.local_storage import config
from cairn.plugins.local_storage.model import LocalStorageHost, LocalStorageVolume, SpaceLevel
from cairn.plugins.local_storage.totals import take_away
from cairn.services.ids import HostId, PrimaryStorageId
from cairn.services.primary_storage.messages import (
    PrimaryStorageFull,
    PrimaryStorageHasRoom,
    PrimaryStorageNearlyFull,
    PrimaryStorageSpaceChanged,
)
from cairn.services.primary_storage.model import ImageCache

#: A disk leaves a level when it is so much emptier than where the level begins; else it would come and go with each file.
_HYSTERESIS_PERCENT = 2
#: A change of free space that is smaller than this share of the disk, and of the reserve, is not written down.
_DISK_PART, _RESERVE_PART = 200, 4

_TELL: dict[SpaceLevel, type[PrimaryStorageSpaceChanged]] = {
    SpaceLevel.OK: PrimaryStorageHasRoom,
    SpaceLevel.NEARLY_FULL: PrimaryStorageNearlyFull,
    SpaceLevel.FULL: PrimaryStorageFull,
}


class Touched:
    """The hosts whose shares of storages are not in the sums yet."""

    def __init__(self) -> None:
        self._hosts: dict[PrimaryStorageId, set[HostId]] = {}
        self._all = True  #: at the start it is not known what was summed up before
        self._told: Callable[[], None] = _nobody

    def listen(self, told: Callable[[], None]) -> None:
        """Call `told` whenever something was touched."""
        self._told = told

    def add(self, storage: PrimaryStorageId, host: HostId) -> None:
        """The host's share of the storage changed."""
        self._hosts.setdefault(storage, set()).add(host)
        self._told()

    def add_all(self) -> None:
        """All shares may have changed."""
        self._all = True
        self._told()

    def __bool__(self) -> bool:
        """Whether anything was touched since the last `take`."""
        return self._all or bool(self._hosts)

    def take(self) -> dict[PrimaryStorageId, set[HostId]] | None:
        """The hosts whose shares were touched since the last time, by storage; None: all."""
        hosts, everything = self._hosts, self._all
        self._hosts, self._all = {}, False
        return None if everything else hosts


def _nobody() -> None:
    """Nobody listens yet."""


class Terms(Struct, frozen=True):
    """The settings that a claim is made under."""

    ratio: float
    reserve: int  #: bytes


def total_of(row: LocalStorageHost, terms: Terms) -> int:
    """The bytes of a disk that may be given out."""
    return int(max(0, row.total_physical_capacity - row.system_used_capacity - terms.reserve) * terms.ratio)


def available_of(row: LocalStorageHost, terms: Terms) -> int:
    """The bytes of a disk that can still be given out; never less than 0."""
    there = int((row.available_physical_capacity - terms.reserve) * terms.ratio)
    return max(0, min(total_of(row, terms) - row.booked_capacity, there))


def level_of(space: Space, terms: Terms, nearly_full_percent: int, before: SpaceLevel) -> SpaceLevel:
    """How full a disk is, seen from the level that it had."""
    room = space.total_bytes * _HYSTERESIS_PERCENT // 100
    if space.available_bytes <= terms.reserve + (min(room, terms.reserve) if before is SpaceLevel.FULL else 0):
        return SpaceLevel.FULL
    least = space.total_bytes * (100 - nearly_full_percent) // 100
    if space.available_bytes < least + (room if before is not SpaceLevel.OK else 0):
        return SpaceLevel.NEARLY_FULL
    return SpaceLevel.OK


_space, _mine = table_of(LocalStorageHost), table_of(LocalStorageHost).alias("mine")
_place, _cache = table_of(LocalStorageVolume), table_of(ImageCache)
_SIZE: ColumnElement[int] = bindparam("size", type_=BigInteger)
_RATIO: ColumnElement[float] = bindparam("ratio", type_=Float)
_RESERVE: ColumnElement[int] = bindparam("reserve", type_=BigInteger)


def _whole(number: ColumnElement[Any]) -> ColumnElement[int]:
    return cast(number, BigInteger)


_TOTAL = _whole((_space.c.total_physical_capacity - _space.c.system_used_capacity - _RESERVE) * _RATIO)
_THERE = _whole((_space.c.available_physical_capacity - _RESERVE) * _RATIO)


def _left(booked: ColumnElement[Any]) -> ColumnElement[int]:
    """What can still be given out, when so much is booked."""
    promised = _TOTAL - booked
    least = case((promised < _THERE, promised), else_=_THERE)
    return case((least > 0, least), else_=0)


def _same_disk() -> ColumnElement[bool]:
    """The rows of all storages that are on the disk of the one that is meant."""
    disk = select(_mine.c.file_system).where(
        _mine.c.primary_storage_uuid == bindparam("storage"), _mine.c.host_uuid == bindparam("host")
    )
    return (_space.c.host_uuid == bindparam("host")) & (_space.c.file_system == disk.scalar_subquery())


def _changed_by(size: ColumnElement[Any]) -> dict[str, ColumnElement[Any]]:
    booked = _space.c.booked_capacity + size
    return {"booked_capacity": booked, "available_capacity": _left(booked)}


_BOOK: Update = update(_space).where(_same_disk()).values(**_changed_by(_SIZE))
_CLAIM: Update = _BOOK.where(_TOTAL - _space.c.booked_capacity >= _SIZE, _THERE >= _SIZE)
_ANEW: Update = update(_space).values(
    total_capacity=case((_TOTAL > 0, _TOTAL), else_=0), available_capacity=_left(_space.c.booked_capacity)
)


def _sum_of(column: ColumnElement[Any], table: FromClause) -> Select[Any]:
    """What a host's volumes, or its cached images, take on a disk."""
    storages = select(_mine.c.primary_storage_uuid).where(
        _mine.c.host_uuid == bindparam("host"), _mine.c.file_system == bindparam("disk")
    )
    return select(func.coalesce(func.sum(column), 0)).where(
        table.c.host_uuid == bindparam("host"), table.c.primary_storage_uuid.in_(storages)
    )


_VOLUMES = _sum_of(_place.c.size, _place)
_CACHES = _sum_of(_cache.c.actual_size, _cache)


_DISK = table_of(LocalStorageHost).alias("disk")


def _booked(column: ColumnElement[Any], table: FromClause) -> ColumnElement[Any]:
    """What the volumes, or the cached images, of all storage on a disk take."""
    storages = select(_mine.c.primary_storage_uuid).where(
        _mine.c.host_uuid == _DISK.c.host_uuid, _mine.c.file_system == _DISK.c.file_system
    )
    there = (table.c.host_uuid == _DISK.c.host_uuid) & table.c.primary_storage_uuid.in_(storages)
    return select(func.coalesce(func.sum(column), 0)).where(there).scalar_subquery()


_BOOKED_OFF = _DISK.c.booked_capacity - _booked(_place.c.size, _place) - _booked(_cache.c.actual_size, _cache)
_WRONG: Select[Any] = (
    select(_DISK.c.host_uuid, _DISK.c.file_system, _BOOKED_OFF).where(_BOOKED_OFF != 0).order_by(_DISK.c.host_uuid)
)


def _wrong(tx: Tx) -> Iterator[str]:
    """The disks of which more or less is booked than lies there."""
    for host, disk, number in tx.rows(_WRONG):
        yield f"On the host {host}, {number} bytes more are booked of the disk {disk} than volumes and images take."


BOOKS = Audit("local storage", "Reconnect the host (`cairn reconnect-host`): what is booked is summed up anew.", _wrong)


class DiskSpace:
    """The ledger of hosts' disks. Its methods are called inside transactions."""

    def __init__(self, ids: IdSource, settings: GlobalConfig, events: Events, touched: Touched) -> None:
        self._ids = ids
        self._settings = settings
        self._events = events
        self._touched = touched

    @property
    def terms(self) -> Terms:
        """The settings as they are now."""
        return Terms(self._settings.get(config.OVER_PROVISIONING), self._settings.get(config.RESERVED))

    def claim(self, tx: Tx, storage: PrimaryStorageId, host: HostId, size_bytes: int) -> bool:
        """Take so much of the disk, in one statement, so that no two claims take the same space; False: it has not so much."""
        return self._book(tx, _CLAIM, storage, host, size_bytes)

    def book(self, tx: Tx, storage: PrimaryStorageId, host: HostId, size_bytes: int) -> None:
        """Take so much of the disk, whether it has it or not; what is less than 0 is given back."""
        self._book(tx, _BOOK, storage, host, size_bytes)

    def _book(self, tx: Tx, statement: Update, storage: PrimaryStorageId, host: HostId, size_bytes: int) -> bool:
        terms = self.terms
        given = {"storage": storage, "host": host, "size": size_bytes, "ratio": terms.ratio, "reserve": terms.reserve}
        done = tx.execute(statement, given)
        if done:
            tx.after_commit(lambda: self._touched.add(storage, host))
        return bool(done)

    def measured(self, tx: Tx, host: HostId, found: dict[PrimaryStorageId, Space], *, connecting: bool = False) -> None:
        """Write down what was measured under storages' folders on a host; a storage that has no row there gets one.

        What is booked is summed up anew while the host connects, and if a disk is not the one that it was.
        """
        rows = {row.primary_storage_uuid: row for row in held(tx, host)}
        moved = connecting
        for storage, space in found.items():
            row = rows.get(storage)
            disk = space.file_system or storage
            moved = moved or row is None or row.file_system != disk
            self._write(tx, storage, host, row, _values(space, disk, found))
        for storage, space in found.items():
            self._tell(tx, storage, host, space, rows.get(storage))
        if moved:
            self.book_anew(tx, host)
        self.anew(tx, host)

    def book_anew(self, tx: Tx, host: HostId) -> None:
        """Sum up what is booked on the disks of a host. What it costs grows with what is on them."""
        for disk in {row.file_system for row in held(tx, host)}:
            given = {"host": host, "disk": disk}
            booked = sum(int(str(tx.rows(query, given)[0][0])) for query in (_VOLUMES, _CACHES))
            tx.update_where(LocalStorageHost, {"host_uuid": host, "file_system": disk}, booked_capacity=booked)

    def host_removed(self, tx: Tx, host: HostId) -> None:
        """The host leaves the cloud, and its disks with it. Safe to repeat."""
        for row in tx.find(LocalStorageHost, host_uuid=host):
            tx.delete(LocalStorageHost, row.uuid)
            take_away(tx, row)

    def anew(self, tx: Tx, host: HostId | None = None) -> None:
        """Compute the capacities that rows show from the settings: of a host, or (None) of all, in one statement."""
        terms = self.terms
        given: dict[str, object] = {"ratio": terms.ratio, "reserve": terms.reserve}
        if host is None:
            tx.execute(_ANEW, given)
            return
        tx.execute(_ANEW_OF_HOST, {**given, "host": host})
        for row in tx.find(LocalStorageHost, host_uuid=host):
            tx.after_commit(partial(self._touched.add, row.primary_storage_uuid, host))

    def _write(
        self,
        tx: Tx,
        storage: PrimaryStorageId,
        host: HostId,
        row: LocalStorageHost | None,
        values: dict[str, object],
    ) -> None:
        if row is None:
            row = LocalStorageHost(uuid=self._ids.new(), primary_storage_uuid=storage, host_uuid=host)
            tx.insert(row)
        tx.update(LocalStorageHost, row.uuid, **values)

    def _tell(
        self, tx: Tx, storage: PrimaryStorageId, host: HostId, space: Space, row: LocalStorageHost | None
    ) -> None:
        """Write the level down, and announce it if it is another one."""
        before = row.level if row is not None else SpaceLevel.OK
        level = level_of(space, self.terms, self._settings.get(config.NEARLY_FULL), before)
        if level is before:
            return
        tx.update_where(LocalStorageHost, {"primary_storage_uuid": storage, "host_uuid": host}, level=level)
        event = _TELL[level](
            primary_storage=storage,
            host=host,
            total_bytes=space.total_bytes,
            available_bytes=space.available_bytes,
        )
        self._events.emit(tx, event, resource=storage)

    def is_news(self, space: Space, known: Space | None) -> bool:
        """Whether a measuring differs so much from what is written down that it is to be written down."""
        if known is None or (space.total_bytes, space.file_system) != (known.total_bytes, known.file_system):
            return True
        least = min(space.total_bytes // _DISK_PART, self.terms.reserve // _RESERVE_PART)
        return max(abs(space.available_bytes - known.available_bytes), abs(space.used_bytes - known.used_bytes)) > least


def held(tx: Tx, host: HostId) -> list[LocalStorageHost]:
    """A host's rows. Nobody else books there before the end of the transaction, so sums stay true."""
    return tx.find(LocalStorageHost, host_uuid=host, order_by="uuid", lock=True)


_ANEW_OF_HOST: Update = _ANEW.where(_space.c.host_uuid == bindparam("host"))


def _values(space: Space, disk: str, found: dict[PrimaryStorageId, Space]) -> dict[str, object]:
    """A row's facts; `found` has all that was measured on the host, as several folders may be on one disk."""
    ours = sum(one.used_bytes for one in found.values() if one.file_system and one.file_system == space.file_system)
    taken = space.total_bytes - space.available_bytes
    return {
        "file_system": disk,
        "total_physical_capacity": space.total_bytes,
        "available_physical_capacity": space.available_bytes,
        "system_used_capacity": max(0, taken - (ours or space.used_bytes)),
    }
