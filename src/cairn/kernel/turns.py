"""Fair turns: who is next of all that wait for a place, so that no account can stop the others.

Pure: no clock, no tasks. Places come from pools, and whoever has use of it may have a place in more than one pool: first
the pool for all, then a reserve. These rules hold after every step:

* a pool gives no more places than its size, and an account has at most its share of them;
* a kind of call that is slow has a limit of its own, in all and for each account, whatever pool its places are from;
* accounts take turns: of those that may have a place, the one whose last turn is longest ago is next, and of its calls
  the oldest;
* what belongs to one line (calls about one resource) begins in the order in which it came, even if what came later
  could have had a place of a reserve;
* when `take` gives nothing more, nobody waits beside a free place that he may have.

Calls that differ in nothing but their age stand in one lane. A lane is in the ring of a pool while its account may have
one more place there, so that a turn looks at the first lane of each ring, and costs the same with ten accounts as with a
million. An account that neither waits nor has a place is forgotten. Sizes and shares are read at each turn; `changed`
makes a change of them known to those that wait.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Generic, TypeVar

E = TypeVar("E")
P = TypeVar("P", bound=Hashable)


class Pool:
    """Places of one sort.

    Args:
        name: in reports: ``ordinary``.
        size: how many there are, now.
        share: how many of them one account may have, now; asked with whether the account is privileged.
    """

    __slots__ = ("name", "share", "size", "taken")

    def __init__(self, name: str, size: Callable[[], int], share: Callable[[bool], int]) -> None:
        self.name = name
        self.size = size
        self.share = share
        self.taken = 0


class Kind:
    """A kind of call that is slow, and so has a limit of its own.

    Args:
        name: in reports.
        size: how many run at a time, now.
        share: how many of one account, now.
    """

    __slots__ = ("name", "share", "size", "taken")

    def __init__(self, name: str, size: Callable[[], int], share: Callable[[], int]) -> None:
        self.name = name
        self.size = size
        self.share = share
        self.taken = 0


class Turn(Generic[E]):
    """One that waits for a place, and then has it.

    Args:
        what: it is for the caller.
        account: whose turn it is.
        pools: from which it may have a place, the one to be tried first before the others.
        kind: with a limit of its own; None: there is none.
        privileged: asked for the account's share.
        line: with others of the same line it begins in order; None: it is in no line.
    """

    __slots__ = ("account", "held", "key", "kind", "line", "placed", "pools", "privileged", "what")

    def __init__(
        self,
        what: E,
        account: str | None,
        pools: tuple[Pool, ...],
        *,
        kind: Kind | None = None,
        privileged: bool = False,
        line: Hashable = None,
    ) -> None:
        self.what = what
        self.account = account
        self.pools = pools
        self.kind = kind
        self.privileged = privileged
        self.line = line
        self.key = (account, pools, kind, privileged)  #: of its lane
        self.placed = False  #: it stands in its lane; else it is behind another of its line
        self.held: Pool | None = None  #: where it has a place


class _Lane(Generic[E]):
    """Calls of one account that differ in nothing but their age."""

    __slots__ = ("kind", "pools", "privileged", "waiting")

    def __init__(self, turn: Turn[E]) -> None:
        self.pools = turn.pools
        self.kind = turn.kind
        self.privileged = turn.privileged
        self.waiting: OrderedDict[Turn[E], None] = OrderedDict()


_Key = tuple[str | None, tuple[Pool, ...], Kind | None, bool]


class _Account(Generic[E]):
    """What one account waits for, and what it has."""

    __slots__ = ("held", "kinds", "lanes")

    def __init__(self) -> None:
        self.lanes: dict[_Key, _Lane[E]] = {}
        self.held: dict[Pool, int] = {}
        self.kinds: dict[Kind, int] = {}

    def may_have(self, pool: Pool, lane: _Lane[E]) -> bool:
        """Whether its shares leave it one more place of `pool`."""
        kind = lane.kind
        within = kind is None or self.kinds.get(kind, 0) < kind.share()
        return within and self.held.get(pool, 0) < pool.share(lane.privileged)


class Turns(Generic[E]):
    """All that wait for places of some pools, and all that have one.

    Args:
        pools: in the order in which their free places are given. No other object counts their places.
    """

    def __init__(self, pools: Iterable[Pool]) -> None:
        self._rings: dict[Pool, dict[Kind | None, OrderedDict[_Lane[E], int]]] = {pool: {} for pool in pools}
        self._accounts: dict[str | None, _Account[E]] = {}
        self._lines: dict[Hashable, OrderedDict[Turn[E], None]] = {}
        self._stamp = 0
        self.waiting: OrderedDict[Turn[E], None] = OrderedDict()  #: in the order in which they came

    def add(self, turn: Turn[E]) -> None:
        """Let one wait. Then `take` until it gives nothing more."""
        self.waiting[turn] = None
        if self._joins(turn):
            self._place(turn)

    def take(self) -> Turn[E] | None:
        """Give a free place to the next; None when nobody may have one."""
        if not self.waiting:
            return None
        for pool, rings in self._rings.items():
            if pool.taken < pool.size() and (lane := _first(rings)) is not None:
                turn = next(iter(lane.waiting))
                self._end_waiting(turn)
                self._hold(turn, pool)
                self._settle(turn.account, back=True)
                return turn
        return None

    def hold(self, turn: Turn[E]) -> None:
        """Give it a place of its first pool at once, whatever the limits are: what has begun is not held up."""
        self._hold(turn, turn.pools[0])
        self._settle(turn.account, back=False)

    def leave(self, turn: Turn[E]) -> None:
        """Take one out, whether it waits or has a place. Safe to repeat. Then `take` until it gives nothing more."""
        if turn in self.waiting:
            self._end_waiting(turn)
        elif turn.held is not None:
            self._give_back(turn)
        self._settle(turn.account, back=False)

    def changed(self) -> None:
        """Look again at all shares. Then `take` until it gives nothing more."""
        for name in list(self._accounts):
            self._settle(name, back=False)

    # -- lines ----------------------------------------------------------------------------------------------------

    def _joins(self, turn: Turn[E]) -> bool:
        """Put it in its line. Whether it may stand in its lane: nothing is before it, but what is in the same lane."""
        if turn.line is None:
            return True
        line = self._lines.setdefault(turn.line, OrderedDict())
        last = next(reversed(line), None)
        line[turn] = None
        return last is None or (last.placed and last.key == turn.key)

    def _leave_line(self, turn: Turn[E]) -> None:
        """Take it out of its line, and let those that it held up stand in their lane."""
        if turn.line is None:
            return
        line = self._lines[turn.line]
        del line[turn]
        if not line:
            del self._lines[turn.line]
            return
        first = next(iter(line))
        if first.placed:
            return  # so are those of the same lane behind it
        for other in line:
            if other.key != first.key:
                return
            self._place(other)

    # -- places ---------------------------------------------------------------------------------------------------

    def _place(self, turn: Turn[E]) -> None:
        account = self._accounts.setdefault(turn.account, _Account())
        lane = account.lanes.get(turn.key)
        if lane is None:
            lane = account.lanes[turn.key] = _Lane(turn)
        lane.waiting[turn] = None
        turn.placed = True
        self._settle_lane(account, lane, back=False)

    def _end_waiting(self, turn: Turn[E]) -> None:
        del self.waiting[turn]
        if turn.placed:
            del self._accounts[turn.account].lanes[turn.key].waiting[turn]
        self._leave_line(turn)

    def _hold(self, turn: Turn[E], pool: Pool) -> None:
        turn.held = pool
        pool.taken += 1
        account = self._accounts.setdefault(turn.account, _Account())
        account.held[pool] = account.held.get(pool, 0) + 1
        if turn.kind is not None:
            turn.kind.taken += 1
            account.kinds[turn.kind] = account.kinds.get(turn.kind, 0) + 1

    def _give_back(self, turn: Turn[E]) -> None:
        pool, turn.held = turn.held, None
        assert pool is not None, "it has a place"
        pool.taken -= 1
        account = self._accounts[turn.account]
        _one_less(account.held, pool)
        if turn.kind is not None:
            turn.kind.taken -= 1
            _one_less(account.kinds, turn.kind)

    def _settle(self, name: str | None, *, back: bool) -> None:
        """Put the account's lanes where they belong now; `back`: behind all others. Forget what is empty."""
        account = self._accounts.get(name)
        if account is None:
            return
        for key, lane in list(account.lanes.items()):
            self._settle_lane(account, lane, back=back)
            if not lane.waiting:
                del account.lanes[key]
        if not account.lanes and not account.held:
            del self._accounts[name]

    def _settle_lane(self, account: _Account[E], lane: _Lane[E], *, back: bool) -> None:
        for pool in lane.pools:
            ring = self._rings[pool].setdefault(lane.kind, OrderedDict())
            if not lane.waiting or not account.may_have(pool, lane):
                ring.pop(lane, None)
            elif back or lane not in ring:
                ring.pop(lane, None)
                self._stamp += 1
                ring[lane] = self._stamp


def _first(rings: Mapping[Kind | None, OrderedDict[_Lane[E], int]]) -> _Lane[E] | None:
    """Of the first lanes of all kinds that have room, the one that has been there longest."""
    found: _Lane[E] | None = None
    since = 0
    for kind, ring in rings.items():
        if ring and (kind is None or kind.taken < kind.size()):
            lane, stamp = next(iter(ring.items()))
            if found is None or stamp < since:
                found, since = lane, stamp
    return found


def _one_less(counts: dict[P, int], of: P) -> None:
    counts[of] -= 1
    if not counts[of]:
        del counts[of]
