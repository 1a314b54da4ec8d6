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

from cairn.kernel.duty import Duties
from cairn.kernel.event.model import EventCursor
from cairn.kernel.store.store import Tx

#: how long a member that is to give a cursor up may take for that
HANDOVER_SECONDS: Final = 10.0


class NotOursError(Exception):
    """Another node tells the subscriber now; what this one was to write was not written."""


class Turn:
    """One durable subscriber's turn at this node.

    Args:
        fence: gives the epoch of the list of members in the database; raises when this node is no member.
    """

    def __init__(self, subscriber: str, duties: Duties, fence: Callable[[Tx], int]) -> None:
        self._subscriber = subscriber
        self._duties = duties
        self._fence = fence
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
        epoch = self._fence(tx)
        if found is None or self._duties.epoch not in (None, epoch) or not self.is_mine:
            return None
        if (
            found.owner_uuid not in (None, self._duties.node)
            and found.owner_uuid in self._duties.members
            and not overdue
        ):
            return None
        seen = {"name": self._subscriber, "owner_uuid": found.owner_uuid, "epoch": found.epoch}
        if not tx.update_where(EventCursor, seen, owner_uuid=self._duties.node, epoch=epoch, alive_date=tx.now):
            return None
        self._epoch = epoch
        return found

    def hold(self, tx: Tx, **values: object) -> None:
        """Make sure that this node has the cursor, and set fields of it. To be called first by whatever writes.

        Raises:
            NotOursError: it has not.
        """
        own = {"name": self._subscriber, "owner_uuid": self._duties.node, "epoch": self._epoch}
        if not tx.update_where(EventCursor, own, **values, alive_date=tx.now):
            raise NotOursError(self._subscriber)

    def give_up(self, tx: Tx) -> None:
        """Leave the cursor to another node. Safe to repeat."""
        own = {"name": self._subscriber, "owner_uuid": self._duties.node, "epoch": self._epoch}
        tx.update_where(EventCursor, own, owner_uuid=None)


def duty_of(subscriber: str) -> str:
    """The duty to tell a durable subscriber."""
    return f"subscriber:{subscriber}"
