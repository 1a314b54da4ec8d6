"""The answers that this node has given, for askers whose answer got lost.

Bounded by number, bytes and age. What is thrown away to keep within them leaves a mark: the instant at which the youngest
request among it was begun. A repeated request that was first sent before that mark, and is not known, may have been done.
"""

from __future__ import annotations

from collections import OrderedDict
from math import inf

from cairn.kernel.clock import Clock, TimerHandle
from cairn.kernel.ids import NodeId

MOST = 20_000
MOST_BYTES = 32 << 20
SECONDS = 600.0
#: instants of different envelopes are compared by `Lateness`, which is not exact
_MARGIN_SECONDS = 1.0

#: sender and id of a request
Key = tuple[NodeId, str]


class _Given:
    __slots__ = ("begun", "ended", "envelope")

    def __init__(self, envelope: bytes, begun: float, ended: float) -> None:
        self.envelope = envelope
        self.begun = begun
        self.ended = ended


class Answered:
    """Remembers answers.

    Args:
        clock: time.
        most: how many at most.
        most_bytes: how many bytes they have at most.
        seconds: how long each is kept at most.
    """

    def __init__(
        self, clock: Clock, *, most: int = MOST, most_bytes: int = MOST_BYTES, seconds: float = SECONDS
    ) -> None:
        self._clock = clock
        self._most = most
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._given: OrderedDict[Key, _Given] = OrderedDict()
        self._bytes = 0
        self._mark = -inf
        self._timer: TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._given)

    def add(self, key: Key, begun: float, envelope: bytes) -> None:
        """Remember the answer to a request that was first sent at `begun`, by our monotonic clock."""
        self._given[key] = _Given(envelope, begun, self._clock.monotonic())
        self._bytes += len(envelope)
        while len(self._given) > self._most or self._bytes > self._most_bytes:
            self._forget_oldest()
        self._arm()

    def get(self, key: Key) -> bytes | None:
        """The answer that was given; None: there was none, or it is forgotten."""
        given = self._given.get(key)
        return None if given is None else given.envelope

    def forgotten(self, begun: float) -> bool:
        """Whether a repeated request that is not known, and was first sent at `begun`, may have been answered."""
        return begun <= self._mark + _MARGIN_SECONDS

    def forget(self, sender: NodeId) -> None:
        """Forget all answers to `sender`: its requests come no more."""
        for key in [key for key in self._given if key[0] == sender]:
            self._bytes -= len(self._given.pop(key).envelope)

    def clear(self) -> None:
        """Forget all, and wait for nothing more."""
        self._given.clear()
        self._bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _forget_oldest(self) -> None:
        _, given = self._given.popitem(last=False)
        self._bytes -= len(given.envelope)
        self._mark = max(self._mark, given.begun)

    def _arm(self) -> None:
        if self._timer is None and self._given:
            self._timer = self._clock.call_later(self._seconds / 4, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        before = self._clock.monotonic() - self._seconds
        while self._given and next(iter(self._given.values())).ended <= before:
            self._forget_oldest()
        self._arm()
