"""A cache of answers that transactions need again and again: kept until a table that they are made from changes.

Which clusters a network is attached to, whether a zone is enabled: each of 10,000 VMs asks, and it seldom changes. A
`Remembered` keeps such an answer until one of its tables is written to through this store, a transaction is rolled back, or
`keep_seconds` have passed (so that what another node changes is seen). Only transactions that write use it: they run one
after the other, so none can see what another has not committed; transactions that read look for themselves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from cairn.kernel.store.record import Record
    from cairn.kernel.store.tx import Tx

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
_MOST = 10_000


class Changes:
    """Counts transactions that write, what they write by table, and those that were taken back."""

    def __init__(self) -> None:
        self.begun = 0  #: the number of the transaction that is open: many functions share one
        self.of: defaultdict[str, int] = defaultdict(int)
        self.taken_back = 0

    def stamp(self, tables: Sequence[str]) -> int:
        """A number that is another one after any of these tables changed; it only grows."""
        stamp = self.taken_back
        for table in tables:
            stamp += self.of[table]
        return stamp


class Remembered(Generic[K, V]):
    """Answers by key.

    Args:
        load: makes the answer inside a transaction; what it raises is not kept.
        records: all that the answer is made of.
        keep_seconds: how long a change by another node may go unseen.
    """

    def __init__(
        self, load: Callable[[Tx, K], V], records: Sequence[type[Record]], *, keep_seconds: float = 1.0
    ) -> None:
        self._load = load
        self._tables = tuple(record.meta.table for record in records)
        self._keep_seconds = keep_seconds
        self._kept: dict[K, tuple[int, float, V]] = {}

    def get(self, tx: Tx, key: K) -> V:
        """The answer, as if it were looked up in this transaction."""
        if not tx.writable:
            return self._load(tx, key)
        now = tx.now.timestamp()
        stamp = tx.changes.stamp(self._tables)
        kept = self._kept.get(key)
        if kept is not None and kept[0] == stamp and now - kept[1] < self._keep_seconds:
            return kept[2]
        answer = self._load(tx, key)
        if len(self._kept) >= _MOST:
            self._kept.clear()
        self._kept[key] = (stamp, now, answer)
        return answer
