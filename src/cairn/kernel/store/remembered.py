"""A cache of answers that transactions need again and again: kept until a table that they are made from changes.

Which clusters a network is attached to, whether a zone is enabled: each of 10,000 VMs asks, and it seldom changes. A
`Remembered` keeps such an answer until one of its tables is written to by the same writer, or a transaction is rolled back.
Only transactions that write use it, and each writer keeps answers of its own (`Changes.answers`): its transactions run one
after the other, so none can see what another has not committed; transactions that read look for themselves.

**Other writers**, of this node and of others, write to the same database. What they have changed of a remembered record is
told by rows of `Invalidation`, in the same commit; the first use in a transaction reads those that are new to its writer. So
an answer is as true as if it were looked up when the transaction began: nothing that was acknowledged before, on any node, is
missed. That is one look by key for all functions that share a commit, and none where only one node can write. `keep_seconds`
bounds how long an answer stands that something else has changed, as somebody with a client of the database.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from sqlalchemy import bindparam, func, select

from cairn.kernel.store.invalidation import Invalidation
from cairn.kernel.store.record import Record, table_of

if TYPE_CHECKING:
    from cairn.kernel.store.tx import Tx

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Kept = tuple[int, float, object]  #: an answer, behind the stamp and the time that it was made at
_MOST = 10_000
_MOST_NEWS = 1000
_told = table_of(Invalidation)
_NEWEST = select(func.max(_told.c.sequence))
_NEWS = (
    select(_told.c.sequence, _told.c.table_name)
    .where(_told.c.sequence > bindparam("heard"))
    .order_by(_told.c.sequence)
    .limit(_MOST_NEWS)
)


class Changes:
    """Of one writer: counts its transactions, what they write by table, and those that were taken back."""

    def __init__(self, *, one_writer: bool = True) -> None:
        self._one_writer = one_writer
        self._heard_in = -1  #: the transaction in which it was last read what others have changed
        self._heard = -1  #: the number up to which that is known; -1: nothing is remembered yet
        self.begun = 0  #: the number of the transaction that is open: many functions share one
        self.of: defaultdict[str, int] = defaultdict(int)
        self.taken_back = 0
        self.answers: defaultdict[object, dict[Hashable, Kept]] = defaultdict(
            dict
        )  #: by whose they are; of `Remembered`

    def stamp(self, tables: Sequence[str]) -> int:
        """A number that is another one after any of these tables changed; it only grows."""
        stamp = self.taken_back
        for table in tables:
            stamp += self.of[table]
        return stamp

    def hear_anew(self) -> None:
        """Have the next use of something remembered learn again what other nodes have changed."""
        self._heard_in = -1

    def hear(self, tx: Tx) -> None:
        """Learn what other writers have changed, once in a transaction."""
        if self._one_writer or self._heard_in == self.begun or not tx.schema.tells:
            return
        self._heard_in = self.begun
        if self._heard < 0:
            self._heard = int(str(tx.rows(_NEWEST)[0][0] or 0))
            self.taken_back += 1
            return
        rows = tx.rows(_NEWS, {"heard": self._heard})
        for _, table in rows:
            self.of[str(table)] += 1
        if rows:
            first, last = (int(str(number)) for number, _ in (rows[0], rows[-1]))
            if first != self._heard + 1 or len(rows) == _MOST_NEWS:
                self.taken_back += 1  # some are gone, or not read: anything may have changed
                last = int(str(tx.rows(_NEWEST)[0][0] or 0))
            self._heard = last


class Remembered(Generic[K, V]):
    """Answers by key.

    Args:
        load: makes the answer inside a transaction; what it raises is not kept.
        records: all that the answer is made of; each says ``remembered=True``.
        keep_seconds: how long an answer stands at most.

    Raises:
        TypeError: a record does not say that it is remembered.
    """

    def __init__(
        self, load: Callable[[Tx, K], V], records: Sequence[type[Record]], *, keep_seconds: float = 1.0
    ) -> None:
        unsaid = [record.__qualname__ for record in records if record.meta.remembered is not True]
        if unsaid:
            raise TypeError(f"{', '.join(unsaid)} must say in its TableMeta that it is remembered: remembered=True")
        self._load = load
        self._tables = tuple(record.meta.table for record in records)
        self._keep_seconds = keep_seconds

    def get(self, tx: Tx, key: K) -> V:
        """The answer, as if it were looked up in this transaction."""
        if not tx.writable:
            return self._load(tx, key)
        now = tx.now.timestamp()
        tx.changes.hear(tx)
        stamp = tx.changes.stamp(self._tables)
        answers = tx.changes.answers[self]
        kept = answers.get(key)
        if kept is not None and kept[0] == stamp and now - kept[1] < self._keep_seconds:
            return cast("V", kept[2])
        answer = self._load(tx, key)
        if len(answers) >= _MOST:
            answers.clear()
        answers[key] = (stamp, now, answer)
        return answer
