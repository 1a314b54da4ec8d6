"""Who may be connected, and for how long without saying anything.

A connection costs the node memory and a file, whoever has it. So there are at most so many, in all and from one address; one that
begins a request has to end it in time; and one that does not read what it is sent is closed. What is due is decided here; the
HTTP server's protocol (`cairn.gateway.server`) tells what it sees.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Generic, TypeVar

from msgspec import Struct

C = TypeVar("C")


class Limits(Struct, frozen=True, kw_only=True):
    """How many connections there may be, and how long each may take over what it does."""

    connections: int = 40_000  #: in all
    per_address: int = 1000  #: from one address, or one network of IPv6; this machine's own programs have no such limit
    header_seconds: float = 20.0  #: from the first byte of a request, or from the connection, to the end of its header
    body_seconds: float = 60.0  #: from the end of the header to the end of the body
    write_seconds: float = 60.0  #: how long a client may leave unread what it is sent
    header_bytes: int = 64 << 10


class Door(Generic[C]):
    """Counts the connections of one server.

    Args:
        limits: how many there may be.
        close: ends a connection that does nothing at the moment, to make room.
    """

    def __init__(self, limits: Limits, close: Callable[[C], None]) -> None:
        self.limits = limits
        self._close = close
        self._of: dict[C, str | None] = {}
        self._by_address: Counter[str] = Counter()
        self._idle: OrderedDict[C, None] = OrderedDict()
        self.refused = 0

    def __len__(self) -> int:
        return len(self._of)

    def __iter__(self) -> Iterator[C]:
        """All connections."""
        return iter(self._of)

    def enter(self, connection: C, address: str | None) -> bool:
        """A connection is there; whether it may stay. If all places are taken, the one that is idle for longest goes."""
        place = _place(address)
        if place is not None and self._by_address[place] >= self.limits.per_address:
            self.refused += 1
            return False
        if len(self._of) >= self.limits.connections and not self._make_room():
            self.refused += 1
            return False
        self._of[connection] = place
        if place is not None:
            self._by_address[place] += 1
        self._idle[connection] = None
        return True

    def leave(self, connection: C) -> None:
        """A connection has gone. Safe to repeat."""
        if connection not in self._of:
            return
        place = self._of.pop(connection)
        self._idle.pop(connection, None)
        if place is not None:
            self._by_address[place] -= 1
            if not self._by_address[place]:
                del self._by_address[place]

    def busy(self, connection: C) -> None:
        """It has begun a request."""
        self._idle.pop(connection, None)

    def idle(self, connection: C) -> None:
        """It has been answered, and is kept for its next request."""
        if connection in self._of:
            self._idle[connection] = None

    def _make_room(self) -> bool:
        if not self._idle:
            return False
        connection = next(iter(self._idle))
        self.leave(connection)
        self._close(connection)
        return True


def _place(address: str | None) -> str | None:
    """What is counted as one: an address of IPv4, a network of IPv6; None: this machine, which is not."""
    try:
        found = ip_address((address or "").partition("%")[0])
    except ValueError:
        return address or None
    found = getattr(found, "ipv4_mapped", None) or found
    if found.is_loopback:
        return None
    return str(found) if found.version == 4 else found.exploded[:19]
