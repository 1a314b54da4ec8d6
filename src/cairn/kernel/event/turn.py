"""Which node tells a durable subscriber: exactly one, the one that the ring names for it.

The row of its cursor has the node that tells it and the ring's epoch in which that node took it. A node takes it by an update
that names the owner and the epoch that it has seen, and only if its list of members is the one in the database at that very
moment. Every later write of the delivery begins with an update that names its own owner and epoch (`hold`): when another has
taken the cursor meanwhile, nothing is written any more, whatever this node believes.

**Hand-over.** When nodes come or go and the ring names another, the old owner ends the calls that are under way and gives the
cursor up. The new one takes it as soon as it is given up, at once if the old owner is no member any more, and after
`HANDOVER_SECONDS` in any case. Events whose telling was broken off are told again: a subscriber may be told twice, never none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cairn.kernel.bus.transport import NOT_OWNER
from cairn.kernel.duty import Duties
from cairn.kernel.error import CairnError
from cairn.kernel.event.model import EventCursor
from cairn.kernel.ownership import Claim, change_if, take
from cairn.kernel.store.store import Tx

#: how long a member that is to give a cursor up may take for that
HANDOVER_SECONDS: Final = 10.0


#: gives the epoch in which this node may begin work on a key; raises ``node.fenced``, ``bus.not-owner``
Begin = Callable[[Tx, str], int]


class NotOursError(Exception):
    """Another node tells the subscriber now; what this one was to write was not written."""


class Turn:
    """One durable subscriber's turn at this node.

    Args:
        begin: gives the epoch in which this node may begin work on a key, as `Ownership.begin` does.
    """

    def __init__(self, subscriber: str, duties: Duties, begin: Begin) -> None:
        self._subscriber = subscriber
        self._duties = duties
        self._begin = begin
        self._epoch = 0

    @property
    def is_mine(self) -> bool:
        """Whether the ring names this node."""
        return self._duties.is_mine(duty_of(self._subscriber))

    def take(self, tx: Tx, *, overdue: bool) -> EventCursor | None:
        """Take the cursor; None: not yet, or not this node.

        Args:
            overdue: whether a member that has it was waited for long enough.

        Raises:
            CairnError: ``node.fenced``.
        """
        found = tx.get(EventCursor, self._subscriber)
        epoch = self._epoch_of(tx)
        if found is None or epoch is None:
            return None
        another_has_it = found.node_uuid != self._duties.node and found.node_uuid in self._duties.members
        if another_has_it and not overdue:
            return None
        if not take(tx, EventCursor, found.claim, self._duties.node, epoch, alive_date=tx.now):
            return None
        self._epoch = epoch
        return found

    def _epoch_of(self, tx: Tx) -> int | None:
        """The epoch in which this node may take the cursor; None: the ring in the database names another."""
        try:
            return self._begin(tx, duty_of(self._subscriber))
        except CairnError as error:
            if error.code != NOT_OWNER:
                raise
            return None

    def hold(self, tx: Tx, **values: object) -> None:
        """Make sure that this node has the cursor, and set fields of it. To be called first by whatever writes.

        Raises:
            NotOursError: it has not.
        """
        if not change_if(tx, EventCursor, self._claim, **values, alive_date=tx.now):
            raise NotOursError(self._subscriber)

    def give_up(self, tx: Tx) -> None:
        """Leave the cursor to another node. Safe to repeat."""
        change_if(tx, EventCursor, self._claim, node_uuid=None)

    @property
    def _claim(self) -> Claim:
        return Claim(self._subscriber, self._duties.node, self._epoch)


def duty_of(subscriber: str) -> str:
    """The duty to tell a durable subscriber."""
    return f"subscriber:{subscriber}"
