"""Envelopes that wait for their way to a broker: bounded, and many of them in one message.

A message costs the broker and both of its clients far more than an envelope does. So what comes together for one node goes in
one message, a batch: under load, while earlier batches are under way, hundreds; without load each goes at once by itself.
Receivers take turns, so that one with much waiting holds up no other.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable

import msgspec

#: bytes that wait or are under way, at most
MOST_BYTES = 64 << 20
#: of a batch, if it has more than one envelope
BATCH_BYTES = 128 << 10
BATCH_ENVELOPES = 1000

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[bytes])


class Batch:
    """Envelopes for one receiver, in the order in which they were put in."""

    __slots__ = ("envelopes", "receiver", "size")

    def __init__(self, receiver: str, envelopes: list[bytes]) -> None:
        self.receiver = receiver
        self.envelopes = envelopes
        self.size = sum(map(len, envelopes))

    def body(self) -> bytes:
        """As one message."""
        return _encoder.encode(self.envelopes)


def envelopes_of(body: bytes) -> list[bytes]:
    """What a message carries. Raises `msgspec.MsgspecError` if it is no batch."""
    return _decoder.decode(body)


class SendBuffer:
    """Keeps envelopes by receiver until they have arrived at the broker."""

    def __init__(
        self, *, most_bytes: int = MOST_BYTES, batch_bytes: int = BATCH_BYTES, batch_envelopes: int = BATCH_ENVELOPES
    ) -> None:
        self._most_bytes = most_bytes
        self._batch_bytes = batch_bytes
        self._batch_envelopes = batch_envelopes
        self._waiting: OrderedDict[str, deque[bytes]] = OrderedDict()
        #: of all that waits, or was taken and neither given back nor done
        self.bytes = 0

    def __bool__(self) -> bool:
        """Whether something waits."""
        return bool(self._waiting)

    def put(self, receiver: str, envelope: bytes) -> bool:
        """Have it wait. False: there is no room for it."""
        if self.bytes + len(envelope) > self._most_bytes:
            return False
        self.bytes += len(envelope)
        self._of(receiver).append(envelope)
        return True

    def take(self) -> Batch:
        """The next batch; something has to wait. Report what becomes of it by `done` or `back`."""
        receiver, waiting = next(iter(self._waiting.items()))
        taken = [waiting.popleft()]
        size = len(taken[0])
        while waiting and len(taken) < self._batch_envelopes and size + len(waiting[0]) <= self._batch_bytes:
            size += len(waiting[0])
            taken.append(waiting.popleft())
        if waiting:
            self._waiting.move_to_end(receiver)
        else:
            del self._waiting[receiver]
        return Batch(receiver, taken)

    def done(self, batch: Batch) -> None:
        """The batch waits no more: it has arrived, or is given up."""
        self.bytes -= batch.size

    def back(self, batches: Iterable[Batch]) -> None:
        """These have not arrived for certain: they wait again, before what came after them.

        Args:
            batches: in the order in which they were taken.
        """
        for batch in reversed(list(batches)):
            self._of(batch.receiver).extendleft(reversed(batch.envelopes))

    def _of(self, receiver: str) -> deque[bytes]:
        waiting = self._waiting.get(receiver)
        if waiting is None:
            waiting = self._waiting[receiver] = deque()
        return waiting
