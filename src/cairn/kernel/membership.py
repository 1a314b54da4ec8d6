"""Which nodes are in service: rows in the database, heartbeats, and an epoch that every change counts up.

The database is the only arbiter; nodes do not vote and there is no leader. A node is a member while its row is there.

Joining, leaving and declaring a member gone change rows and the epoch in one transaction, so an epoch always stands
for one list of members. A member is declared gone by a node that has watched its heartbeat stand still for four
intervals, by the watcher's own monotonic clock: clocks of two machines are never compared. The deletion names the
heartbeat that was seen; if the member has moved meanwhile, nothing is deleted. Of two watchers the second finds
nothing to delete.

A node that finds its row gone, or taken over by a later start of itself (the row then has another epoch), is fenced: it
tells `on_fenced` and must stop. It may notice late, so whatever it writes in between is refused where it matters: the rows of
jobs and journals say who owns them since which epoch, each write of them asks for that, and who takes a row over changes it.

The first row of a job or a run is written only if the list of members *in the database, at that very commit*, gives its key to
this node (`Membership.begin`). So once an epoch is committed, nobody but the new owner can begin work on a key; what the old
one had begun is told by its rows, which the new one reads together with the list (`survey`), before it begins anything.

Agents remember the highest epoch of each resource, and refuse what is of a lower one. A database that was restored, in whatever
way, knows less than they do. So a node that joins counts up to the seconds since 2026 at least, by its clock: never less than
any epoch before, since members do not change once a second for long.

A node whose plugins are not those of the members that are alive does not become one (`Likeness`).

A node that is being drained stays alive and ends what it has, but owns no keys any more.

Restart after ``kill -9``: the new process holds the lock of the data folder (`FolderLock`), which the dead one cannot
hold. So it knows that its predecessor's row is dead, and takes it over at once instead of waiting.

A database file has one process: others could not be told of what that accepts. A lock beside the file (`lock_database`) keeps
them out, whichever data folder they have. Several nodes need a server.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple

import structlog
from sqlalchemy import bindparam, select, true, update

from cairn.kernel.bus.tasks import Tasks, being_cancelled
from cairn.kernel.bus.transport import not_owner
from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import NodeId
from cairn.kernel.likeness import Likeness
from cairn.kernel.ring import Ring
from cairn.kernel.store.record import Doc, Key, Record, TableMeta, Text, Visible, table_of
from cairn.kernel.store.remembered import Changes
from cairn.kernel.store.store import Store
from cairn.kernel.store.tx import Tx

HEARTBEAT_SECONDS = 1.0
MISSED_HEARTBEATS = 4

_log = structlog.get_logger("cairn.membership")


class NodeState(StrEnum):
    """The state of a node. One that left or is gone has no row."""

    RUNNING = "Running"
    DRAINING = "Draining"  #: it ends what it has begun, and gets nothing new


class ManagementNode(Record, frozen=True, kw_only=True):
    """A process that runs this cloud."""

    meta: ClassVar[TableMeta] = TableMeta(table="management_node", entity="ManagementNode", visible=Visible.ADMIN)

    uuid: Annotated[NodeId, Key()]
    host_name: Annotated[str, Text(255), Doc("the address at which other nodes and agents reach it")]
    port: Annotated[int, Doc("the port of its API")]
    state: NodeState = NodeState.RUNNING
    version: Annotated[str, Doc("of the cairn that it runs")] = ""
    join_date: datetime
    heart_beat: Annotated[datetime, Doc("when it was last heard of, by its own clock")]
    epoch: Annotated[int, Doc("the epoch in which it joined; another start has another one")]
    plugins: Annotated[dict[str, str] | None, Doc("those that it runs, with versions; empty: that of cairn")] = None
    wheels: Annotated[str | None, Doc("checksum of the wheels that it installs agents from")] = None


class RingEpoch(Record, frozen=True, kw_only=True):
    """The epoch of the list of members: one row."""

    meta: ClassVar[TableMeta] = TableMeta(table="ring_epoch")

    uuid: Annotated[str, Key()]
    epoch: int


RECORDS: tuple[type[Record], ...] = (ManagementNode, RingEpoch)

_TABLES = tuple(record.meta.table for record in RECORDS)
_EPOCH_KEY = "ring"
#: a database that was restored must not count what agents have heard already
_COUNTED_FROM = datetime(2026, 1, 1, tzinfo=UTC)
_NOTHING_SPECIAL = Likeness()
_node = table_of(ManagementNode)
_epoch = table_of(RingEpoch)
_COUNT_UP = update(_epoch).where(_epoch.c.uuid == _EPOCH_KEY).values(epoch=_epoch.c.epoch + 1)
#: both rows are locked against those who change the list, until the commit
_FENCE = (
    select(_epoch.c.epoch)
    .join(_node, true())
    .where(_epoch.c.uuid == _EPOCH_KEY, _node.c.uuid == bindparam("node"), _node.c.epoch == bindparam("node.joined"))
    .with_for_update(read=True)
)
#: reads, together with a new list of members, what must be known when it counts; what it returns is called then
Survey = Callable[[Tx], Callable[[], None]]


def fence(tx: Tx, node: NodeId, joined: int) -> int:
    """Make sure, in the transaction that is to write, that `node` is the member that joined in epoch `joined`.

    Returns:
        The epoch of the list of members.

    Raises:
        CairnError: ``node.fenced``.
    """
    found = tx.rows(_FENCE, {"node": node, "node.joined": joined})
    if not found:
        raise _fenced(node)
    epoch = found[0][0]
    assert isinstance(epoch, int)
    return epoch


def hold_beginnings(tx: Tx) -> None:
    """Wait for all jobs and runs that are just being begun, on any node, and have none begun until the end of this transaction.

    For who takes something away that whoever begins has only remembered (`Remembered`): call it before looking who uses it.
    Who begins pays nothing for it: all share the row of the epoch (`fence`), which is had alone only here and when nodes come or
    go.
    """
    tx.get(RingEpoch, _EPOCH_KEY, lock=True)


class _News(NamedTuple):
    """A list of members as it was read, and what was read together with it."""

    members: list[ManagementNode]
    epoch: int
    surveyed: Callable[[], None] | None  #: None: it is the list that is known already


class _Seen:
    """A member's heartbeat and since when, by our clock, it has stood still."""

    __slots__ = ("epoch", "heart_beat", "since")

    def __init__(self, row: ManagementNode, since: float) -> None:
        self.heart_beat = row.heart_beat
        self.epoch = row.epoch
        self.since = since


class Membership:
    """Keeps one node a member, and its ring true.

    Args:
        store: the database that all nodes share.
        ring: told of every new list of members.
        clock: time.
        node: this node.
        host_name: the address at which others reach it.
        port: the port of its API.
        likeness: what it has to have in common with the others.
        on_fenced: called once, from the event loop, when this node is no longer a member; it must stop the node.
        heartbeat_seconds: between heartbeats; read before each.
        predecessor_dead: it is known that no other process runs with this node's id (`FolderLock`): the row of such a process
            is taken over at once.
        alone: it is known that no other process works with this database (`lock_database`): all rows are of dead ones.
    """

    def __init__(
        self,
        store: Store,
        ring: Ring,
        clock: Clock,
        node: NodeId,
        *,
        host_name: str,
        port: int,
        likeness: Likeness = _NOTHING_SPECIAL,
        on_fenced: Callable[[CairnError], None],
        heartbeat_seconds: Callable[[], float] = lambda: HEARTBEAT_SECONDS,
        predecessor_dead: bool = False,
        alone: bool = False,
    ) -> None:
        self._store = store
        self._ring = ring
        self._clock = clock
        self._node = node
        self._host_name = host_name
        self._port = port
        self._likeness = likeness
        self._on_fenced = on_fenced
        self._heartbeat_seconds = heartbeat_seconds
        self._predecessor_dead = predecessor_dead or alone
        self._alone = alone
        self._survey: Survey = lambda tx: lambda: None
        self._joined = 0
        #: by writer: when the fence was looked at last, and the epoch then
        self._looked: dict[Changes, tuple[tuple[int, int], int]] = {}
        self._seen: dict[NodeId, _Seen] = {}
        self._dead: list[ManagementNode] = []  #: with other plugins; they stood still while this node watched, if ever
        self._tasks = Tasks()
        self._last_beat = 0.0

    @property
    def node(self) -> NodeId:
        """This node."""
        return self._node

    @property
    def alive(self) -> frozenset[NodeId]:
        """All nodes that are there."""
        return self._ring.alive

    @property
    def joined(self) -> int:
        """The epoch in which this node joined; 0: it has not yet."""
        return self._joined

    def survey_by(self, survey: Survey) -> None:
        """Have `survey` read what must be known of the others' work before a new list of members counts."""
        self._survey = survey

    async def start(self) -> None:
        """Join, and keep the heart beating.

        Raises:
            CairnError: ``node.already-running`` when another process is alive under this node's id;
                ``node.plugins-differ``: members that are alive have other plugins.
        """
        await self._await_dead_predecessor()
        await self._compare()
        news = await self._store.write(self._join)
        members, epoch = news.members, news.epoch
        self._joined = epoch
        self._last_beat = self._clock.monotonic()
        self._apply(news)
        _log.info("node.joined", node=self._node, epoch=epoch, members=len(members))
        self._tasks.start(self._run(), f"heartbeat of {self._node}")

    async def stop(self) -> None:
        """Leave: the others take over at once. Safe to repeat, and after having been fenced."""
        await self._tasks.stop()
        if self._joined:
            left = await self._store.write(self._leave)
            self._joined = 0
            _log.info("node.left", node=self._node, was_member=left)

    async def drain(self) -> bool:
        """Own no keys any more, before this node leaves: what it has not begun is the others' from now on. Safe to repeat.

        Returns:
            False: there is no other node that takes work, or this one is no member any more; nothing was changed.
        """
        if len(self._ring.alive) < 2:
            return False

        def fn(tx: Tx) -> bool:
            others = tx.count(ManagementNode, state=NodeState.RUNNING) - tx.count(
                ManagementNode, uuid=self._node, state=NodeState.RUNNING
            )
            return others > 0 and change_state(tx, self._node, NodeState.DRAINING)

        return await self._store.write(fn) and await self.beat()

    def trouble(self) -> str | None:
        """Why this node may be no member any more, in a sentence; None: it is one."""
        silence = self._clock.monotonic() - self._last_beat
        if not self._joined:
            return "it is not in the ring of nodes"
        if silence < MISSED_HEARTBEATS * self._heartbeat_seconds():
            return None
        return f"its heartbeat has not been written for {silence:.0f} s"

    def drop(self) -> None:
        """End without a goodbye, as a crash does. For tests."""
        self._tasks.cancel()

    def fence(self, tx: Tx) -> int:
        """The ring's epoch, if this node is still a member. For journal writes, inside their transaction.

        Many of them share a transaction: the first one looks. No other node can write before that is committed, and what
        this node writes meanwhile is counted.

        Raises:
            CairnError: ``node.fenced``.
        """
        if not tx.writable:
            return fence(tx, self._node, self._joined)
        now = (tx.changes.begun, tx.changes.stamp(_TABLES))
        looked = self._looked.get(tx.changes)
        if looked is None or looked[0] != now:
            looked = self._looked[tx.changes] = (now, fence(tx, self._node, self._joined))
            tx.changes.hear_anew()  # it may have waited for somebody who has changed what is remembered
        return looked[1]

    async def beat(self) -> bool:
        """One round: beat, declare gone those that stood still, read the list. False: this node is fenced."""
        still = self._still()
        result = await self._store.write(lambda tx: self._round(tx, still))
        if result is None:
            return False
        self._last_beat = self._clock.monotonic()
        self._apply(result)
        return True

    def begin(self, tx: Tx, key: str | None) -> int:
        """The epoch in which this node begins work on `key`. For the first row of a job or a run, inside its transaction.

        Args:
            key: None: inside of work that is this node's already, whatever the ring says now.

        Raises:
            CairnError: ``node.fenced``; ``bus.not-owner``: the members have changed, and another node may own it now.
        """
        epoch = self.fence(tx)
        if key is not None and (epoch != self._ring.epoch or self._ring.node_of(key) != self._node):
            raise not_owner("This work", self._node)
        return epoch

    def owner_of(self, key: str) -> NodeId:
        """The node that owns `key`, as far as this one knows (``ring.empty``)."""
        return self._ring.node_of(key)

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(self._heartbeat_seconds())
            try:
                if not await self.beat():
                    self._tell_fenced()
                    return
            except (Exception, asyncio.CancelledError) as error:
                if being_cancelled():
                    raise
                trace = None if isinstance(error, CairnError) else error
                _log.error("node.heartbeat-not-written", node=self._node, error=str(error), exc_info=trace)
                if self._silent_too_long():
                    self._tell_fenced()
                    return

    def _silent_too_long(self) -> bool:
        """Whether the others, if there are any, may have taken over by now."""
        silence = self._clock.monotonic() - self._last_beat
        return len(self._ring.alive) > 1 and silence >= MISSED_HEARTBEATS * self._heartbeat_seconds()

    def _tell_fenced(self) -> None:
        error = _fenced(self._node)
        _log.error("node.not-a-member", node=self._node, error=str(error))
        self._on_fenced(error)

    async def _await_dead_predecessor(self) -> None:
        """Watch the heartbeat under this node's own id stand still, unless its process is known to be dead."""
        if self._predecessor_dead:
            return
        found = await self._store.read(lambda tx: tx.get(ManagementNode, self._node))
        if found is None:
            return
        await self._clock.sleep(MISSED_HEARTBEATS * self._heartbeat_seconds())
        later = await self._store.read(lambda tx: tx.get(ManagementNode, self._node))
        if later is not None and later.heart_beat != found.heart_beat:
            raise CairnError(
                "node.already-running",
                f"Another process runs as node {self._node} at {later.host_name}:{later.port}. Stop it, or give this "
                "one a data folder of its own.",
                kind=ErrorKind.CONFLICT,
            )

    async def _compare(self) -> None:
        """Watch the hearts of those that have other plugins: rows of dead ones are no reason to refuse."""
        self._dead = await self._store.read(self._unlike)
        if self._dead:
            await self._clock.sleep(MISSED_HEARTBEATS * self._heartbeat_seconds())

    def _unlike(self, tx: Tx) -> list[ManagementNode]:
        others = [] if self._alone else tx.find(ManagementNode)
        return [row for row in others if row.uuid != self._node and self._likeness.refuses(row)]

    def _refuse_unlike(self, tx: Tx) -> None:
        """In the transaction that joins, which no other join overtakes: of two that start at once and differ, one is refused."""
        dead = {(row.uuid, row.epoch, row.heart_beat) for row in self._dead}
        alive = [row for row in self._unlike(tx) if (row.uuid, row.epoch, row.heart_beat) not in dead]
        if alive:
            raise self._likeness.refusal(alive)
        for row in tx.find(ManagementNode):
            if row.uuid != self._node and (notes := self._likeness.notes(row)):
                tx.after_commit(partial(_log.warning, "node.differs", node=self._node, other=row.uuid, differs=notes))

    def _join(self, tx: Tx) -> _News:
        tx.delete(ManagementNode, self._node)
        if self._alone:
            tx.delete_where(ManagementNode)
        epoch = _next_epoch(tx, at_least=int((tx.now - _COUNTED_FROM).total_seconds()))
        self._refuse_unlike(tx)
        tx.insert(
            ManagementNode(
                uuid=self._node,
                host_name=self._host_name,
                port=self._port,
                version=self._likeness.version,
                plugins=self._likeness.plugins,
                wheels=self._likeness.wheels,
                join_date=tx.now,
                heart_beat=tx.now,
                epoch=epoch,
            )
        )
        return _News(tx.find(ManagementNode), epoch, self._survey(tx))

    def _leave(self, tx: Tx) -> bool:
        left = tx.delete_where(ManagementNode, uuid=self._node, epoch=self._joined) > 0
        if left:
            _next_epoch(tx)
        return left

    def _round(self, tx: Tx, still: list[tuple[NodeId, _Seen]]) -> _News | None:
        own = {"uuid": self._node, "epoch": self._joined}
        if not tx.update_where(ManagementNode, own, heart_beat=tx.now):
            return None
        for node, seen in still:
            if tx.delete_where(ManagementNode, uuid=node, heart_beat=seen.heart_beat, epoch=seen.epoch):
                _next_epoch(tx)
                tx.after_commit(partial(_log.warning, "node.gone", gone=node, heart_beat=seen.heart_beat))
        row = tx.get(RingEpoch, _EPOCH_KEY)
        epoch = row.epoch if row is not None else self._joined
        return _News(tx.find(ManagementNode), epoch, None if epoch == self._ring.epoch else self._survey(tx))

    def _still(self) -> list[tuple[NodeId, _Seen]]:
        """Members whose heartbeat has stood still for too long."""
        before = self._clock.monotonic() - MISSED_HEARTBEATS * self._heartbeat_seconds()
        return [(node, seen) for node, seen in self._seen.items() if seen.since <= before]

    def _apply(self, news: _News) -> None:
        now = self._clock.monotonic()
        before, self._seen = self._seen, {}
        restarted: list[NodeId] = []
        nodes: dict[NodeState, list[NodeId]] = {state: [] for state in NodeState}
        for row in news.members:
            nodes[row.state].append(row.uuid)
            if row.uuid == self._node:
                continue
            known = before.get(row.uuid)
            if known is not None and known.epoch != row.epoch:
                restarted.append(row.uuid)
            moved = known is None or known.heart_beat != row.heart_beat or known.epoch != row.epoch
            self._seen[row.uuid] = _Seen(row, now) if known is None or moved else known
        new = self._ring.set_members(
            nodes[NodeState.RUNNING], news.epoch, draining=nodes[NodeState.DRAINING], restarted=restarted
        )
        if new and news.surveyed is not None:
            news.surveyed()  # in the same turn of the loop: nothing has begun under the new list yet


def change_state(tx: Tx, node: NodeId, state: NodeState) -> bool:
    """Have a node own keys, or own none any more. Safe to repeat. Returns whether there is such a node."""
    row = tx.get(ManagementNode, node)
    if row is not None and row.state is not state and tx.update(ManagementNode, node, state=state):
        _next_epoch(tx)
    return row is not None


def take_out(tx: Tx, seen: ManagementNode) -> bool:
    """Remove the row of a node that is not there any more, if its heart has not beaten since it was seen. Safe to repeat.

    Returns:
        False: it has beaten, or the node has started again.
    """
    if tx.delete_where(ManagementNode, uuid=seen.uuid, heart_beat=seen.heart_beat, epoch=seen.epoch):
        _next_epoch(tx)
        return True
    return tx.get(ManagementNode, seen.uuid) is None


NODE_LOCK = "node.lock"


class FolderLock:
    """The lock of a data folder: one process at a time works with it. It ends with the process, however that ends."""

    def __init__(self, folder: Path, name: str = NODE_LOCK) -> None:
        """Take the lock of `folder`, which must exist.

        Args:
            folder: it is locked for all that use the same `name`.
            name: of the file, in the folder, in which the number of the process stands.

        Raises:
            CairnError: ``node.folder-in-use``.
        """
        self._file = _locked(folder, name)
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock up. Safe to repeat."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def lock_database(file: Path) -> FolderLock:
    """Take the lock of a database, which holds for all data folders whose settings name its file.

    Raises:
        CairnError: ``node.database-in-use``, ``node.no-database-folder``.
    """
    file = file.resolve()
    if not file.parent.is_dir():
        raise CairnError(
            "node.no-database-folder",
            f"There is no folder {file.parent} for the database {file.name}. Make it, or choose another database.",
            kind=ErrorKind.INVALID,
            details={"database": str(file)},
        )
    try:
        return FolderLock(file.parent, f"{file.name}.lock")
    except CairnError as error:
        holder = error.details.get("process") or "(unknown)"
        raise CairnError(
            "node.database-in-use",
            f"Process {holder} works with the database {file} already, and only one can: "
            "SQLite is for one node. Stop it, or choose another database; several nodes share one on MariaDB or MySQL.",
            kind=ErrorKind.CONFLICT,
            details={"database": str(file), "process": str(holder)},
        ) from error


def _locked(folder: Path, name: str) -> int:
    """The file, open and locked. One that was deleted while it was waited for is no lock: another is made then."""
    while True:
        file = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(file, 20).decode(errors="replace").strip()
            os.close(file)
            raise CairnError(
                "node.folder-in-use",
                f"Process {holder or '(unknown)'} works with {folder} already. Stop it, or choose another data folder.",
                kind=ErrorKind.CONFLICT,
                details={"folder": str(folder), "process": holder},
            ) from error
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), os.stat(folder / name)):
                return file
        os.close(file)


def _next_epoch(tx: Tx, *, at_least: int = 0) -> int:
    """Count up first, then read: so two nodes never read the same number."""
    if not tx.execute(_COUNT_UP):
        tx.insert(RingEpoch(uuid=_EPOCH_KEY, epoch=1))
    row = tx.get(RingEpoch, _EPOCH_KEY)
    assert row is not None, "it was written just now"
    if row.epoch < at_least:
        tx.update(RingEpoch, _EPOCH_KEY, epoch=at_least)
    return max(row.epoch, at_least)


def _fenced(node: NodeId) -> CairnError:
    return CairnError(
        "node.fenced",
        f"Node {node} is no longer a member: it was silent for too long, or started again elsewhere. Others do its "
        "work; start it again.",
        kind=ErrorKind.UNAVAILABLE,
        details={"node": node},
    )
