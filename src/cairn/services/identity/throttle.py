"""Guessing passwords is slow, and keeps nobody else out: delays that grow, counted by who tries and from where.

Three counts of wrong passwords, each with tries that are free, and a wait behind them that doubles with each failure, up to a
bound. A try counts until it turns out to be right.

* of an account from a place (an address): the wait is for that pair only, so a stranger does not hold up the account's owner;
* of a place, whatever the account: who tries many names waits, too;
* of an account from all places that never logged in to it: many strangers together are slow as well. A place from which its
  right password has come does not wait for them, and the node's own machine never does.

There is no state in which the right password from a known place is refused for longer than that place's own guesses cost.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from ipaddress import IPv6Address, ip_address
from typing import Final, Generic, TypeVar

from msgspec import Struct

from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError, ErrorKind

K = TypeVar("K", bound=Hashable)

#: After so long without a failure they are forgotten.
FORGET_SECONDS: Final = 900.0
_REMEMBERED: Final = 20_000
#: Who asks has no address: the cloud itself, or a program on its machine.
HERE: Final = "here"


class Patience(Struct, frozen=True):
    """How many failures are free, and how long the wait behind them grows."""

    free: int
    longest_seconds: float


OF_PAIR: Final = Patience(free=5, longest_seconds=60.0)
OF_PLACE: Final = Patience(free=30, longest_seconds=300.0)
OF_STRANGERS: Final = Patience(free=20, longest_seconds=30.0)


class _Failures(Struct):
    count: int
    last: float


class _Counts(Generic[K]):
    """Failures by key; of very many keys, those that failed longest ago are forgotten."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._of: OrderedDict[K, _Failures] = OrderedDict()

    def wait_seconds(self, key: K, now: float) -> float:
        failures = self._of.get(key)
        if failures is None or now - failures.last >= FORGET_SECONDS or failures.count < self._patience.free:
            return 0.0
        grown = min(2.0 ** min(failures.count - self._patience.free, 20), self._patience.longest_seconds)
        return max(0.0, failures.last + grown - now)

    def failed(self, key: K, now: float) -> None:
        failures = self._of.get(key)
        if failures is None or now - failures.last >= FORGET_SECONDS:
            failures = self._of[key] = _Failures(0, now)
        failures.count, failures.last = failures.count + 1, now
        self._of.move_to_end(key)
        while len(self._of) > _REMEMBERED:
            self._of.popitem(last=False)

    def take_back(self, key: K) -> None:
        failures = self._of.get(key)
        if failures is not None:
            failures.count -= 1
            if failures.count <= 0:
                del self._of[key]

    def forget(self, key: K) -> None:
        self._of.pop(key, None)


class Throttle:
    """Counts wrong passwords. In memory: a restart forgives."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pairs: _Counts[tuple[str, str]] = _Counts(OF_PAIR)
        self._places: _Counts[str] = _Counts(OF_PLACE)
        self._strangers: _Counts[str] = _Counts(OF_STRANGERS)
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def knows(self, name: str, place: str) -> bool:
        """Whether the account's right password has come from there."""
        return place == HERE or (name, place) in self._known

    def check(self, name: str, place: str) -> None:
        """Refuse a try that comes too early (``auth.too-many-tries``). It costs nothing, so it is asked before any hashing."""
        now = self._clock.monotonic()
        seconds = max(self._pairs.wait_seconds((name, place), now), self._places.wait_seconds(place, now))
        if not self.knows(name, place):
            seconds = max(seconds, self._strangers.wait_seconds(name, now))
        if seconds > 0:
            wait = int(seconds) + 1
            raise CairnError(
                "auth.too-many-tries",
                f"There were too many wrong passwords. Wait {wait} s; the wait grows with each further one.",
                kind=ErrorKind.EXHAUSTED,
                details={"retryAfterSeconds": wait},
            )

    def begin(self, name: str, place: str) -> None:
        """A try begins; it counts as failed until `succeeded` (``auth.too-many-tries``)."""
        self.check(name, place)
        now = self._clock.monotonic()
        self._pairs.failed((name, place), now)
        if place != HERE:
            self._places.failed(place, now)
        if not self.knows(name, place):
            self._strangers.failed(name, now)

    def succeeded(self, name: str, place: str) -> None:
        """The password was right: the place is known for this account from now on. What it did to others stays counted."""
        self._pairs.forget((name, place))
        if place == HERE:
            return
        self._places.take_back(place)
        if not self.knows(name, place):
            self._strangers.take_back(name)
        self._known[name, place] = None
        self._known.move_to_end((name, place))
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


def place_of(address: str | None) -> str:
    """What counts as one place: an address of IPv4, a network of IPv6 (one machine has a whole one), this machine."""
    if not address:
        return HERE
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if found.is_loopback:
        return HERE
    return str(found) if found.version == 4 else found.exploded[:19]
