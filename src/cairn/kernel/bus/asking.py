"""Calls to other nodes: the asker's half.

The request goes out, a future waits under its id. It ends by the answer, by the caller's cancellation or deadline (then a
cancel goes after the request), or when the ring says that the node has left: whichever is first; anything that comes
later finds no future and is dropped. So there is exactly one answer.

A transport may lose what it carries. So a request is sent again, under the same id, with growing pauses, and soon when the
transport or the other node says that it is there again; the other node answers it once, and sends the same answer as often
as it is asked. A cancel is sent again in the same way until it is answered. All of them wait on one wheel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import msgspec
import structlog
from msgspec.structs import replace

from cairn.kernel.bus.context import CONTEXT
from cairn.kernel.bus.deadline import DeadlineWheel, Expiring
from cairn.kernel.bus.message import Message, answer_type, encode_message, tag_of
from cairn.kernel.bus.transport import Answer, Cancel, Envelope, Request, node_gone
from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError, ErrorKind, from_record, internal
from cairn.kernel.ids import IdSource, NodeId
from cairn.kernel.ring import Ring

_log = structlog.get_logger("cairn.bus")

#: seconds from one sending to the next; the last holds from then on
PAUSES_SECONDS = (3.0, 6.0, 15.0)
#: after the transport was away, what is open is sent again within so many seconds
_RESUME_SECONDS = 1.0
#: cancels that wait for their answer, at most; what is beyond ends at its deadline
_CANCELS = 10_000

Send = Callable[[NodeId, Envelope, str], None]
"""Sends an envelope to a node; what it is, for errors."""


class _Open(Expiring):
    """A request that waits for its answer; or, when its caller wants no more of it, its cancel. The wheel sends it again."""

    __slots__ = ("cancelled", "deadline", "first", "future", "node", "repeat", "request", "tag", "times")

    def __init__(
        self, node: NodeId, tag: str, request: Request, deadline: float, repeat: Callable[[_Open], None]
    ) -> None:
        super().__init__(request.sent)
        self.node = node
        self.tag = tag
        self.request = request
        self.first = request.sent
        self.deadline = deadline
        self.repeat = repeat
        self.future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.times = 0
        self.cancelled = False

    def expire(self) -> None:
        self.repeat(self)

    def envelope(self, now: float) -> Request | Cancel:
        """What to send at `now`."""
        request = self.request
        if self.cancelled:
            return Cancel(id=request.id, sender=request.sender, incarnation=request.incarnation)
        return replace(request, seconds=max(0.0, self.deadline - now), age=now - self.first, sent=now)

    def fail(self, error: CairnError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Asking:
    """One node's calls to the other nodes.

    Args:
        node: this node.
        ring: who the members are.
        clock: time.
        ids: of requests.
        incarnation: the epoch in which this process joined; read at each request.
        send: brings an envelope on its way. It may raise a `CairnError`.
        reachable: whether the transport is there; while it is not, nothing is sent again.
    """

    def __init__(
        self,
        node: NodeId,
        ring: Ring,
        clock: Clock,
        ids: IdSource,
        incarnation: Callable[[], int],
        send: Send,
        reachable: Callable[[], bool],
    ) -> None:
        self._node = node
        self._ring = ring
        self._clock = clock
        self._ids = ids
        self._incarnation = incarnation
        self._send = send
        self._reachable = reachable
        self._wheel = DeadlineWheel(clock)
        self._pending: dict[str, _Open] = {}
        self._cancelled: dict[str, _Open] = {}
        self._stopping = False

    def start(self) -> None:
        """Take calls, also after a `stop`."""
        self._stopping = False

    def stop(self) -> None:
        """Answer open calls with ``bus.stopped``; later ones, too."""
        self._stopping = True
        for call in self._pending.values():
            call.fail(stopped(call.tag))
        self._cancelled.clear()
        self._wheel.stop()

    async def ask(self, node: NodeId, message: Message, *, named: bool = False) -> object:
        """Have `message` handled by `node`, another one. The context has the deadline.

        Args:
            node: which.
            message: what.
            named: this very node is meant, whatever its ring says.

        Raises:
            CairnError: what the handler raised; ``bus.node-gone``, ``bus.stopped``, ``bus.message-too-large``.
        """
        tag = tag_of(message)
        if self._stopping:
            raise stopped(tag)
        call = self._call(node, message, tag, named=named)
        self._pending[call.request.id] = call
        try:
            self._send(node, call.request, tag)
            self._wait(call)
            answer = await call.future
        except asyncio.CancelledError:
            self._cancel(call)
            raise
        finally:
            del self._pending[call.request.id]
            if not call.future.cancel() and not call.future.cancelled():
                call.future.exception()  # it is not missed: the caller was cancelled at the same moment
            if not call.cancelled:
                self._wheel.discard(call)
        if answer.error is not None:
            raise from_record(answer.error)
        return _decode_answer(message, answer.body)

    def take(self, answer: Answer) -> None:
        """An answer has come in."""
        call = self._pending.get(answer.id) or self._cancelled.get(answer.id)
        if call is None or call.node != answer.sender or call.request.incarnation != answer.incarnation:
            return
        if call.cancelled:
            self._give_up(call)
        elif not call.future.done():
            call.future.set_result(answer)

    def left(self, nodes: Iterable[NodeId]) -> None:
        """These nodes, or their former processes, are no members any more. If this one is, nobody works for it now."""
        gone = frozenset(nodes)
        everybody = self._node in gone
        for call in [call for call in self._open() if everybody or call.node in gone]:
            call.fail(node_gone(call.node, call.tag))
            if call.cancelled:
                self._give_up(call)

    def resume(self, node: NodeId | None = None) -> None:
        """Send what is open once more, spread over a second, and with short pauses again.

        Args:
            node: that can be reached again; None: the transport is there again.
        """
        calls = [call for call in self._open() if node is None or call.node == node]
        now = self._clock.monotonic()
        for number, call in enumerate(calls):
            self._wheel.discard(call)
            call.times = 0
            call.at = now + _RESUME_SECONDS * number / len(calls)
            self._wheel.add(call)

    def _call(self, node: NodeId, message: Message, tag: str, *, named: bool) -> _Open:
        context = CONTEXT.get()
        now = self._clock.monotonic()
        deadline = context.deadline if context.deadline is not None else now
        request = Request(
            id=self._ids.new(),
            sender=self._node,
            message=encode_message(message),
            seconds=max(0.0, deadline - now),
            incarnation=self._incarnation(),
            epoch=self._ring.epoch,
            sent=now,
            job=context.job,
            stack=context.stack[:-1],
            actor=context.actor,
            origin=context.origin,
            parent=context.parent,
            fence=context.fence,
            named=named,
        )
        return _Open(node, tag, request, deadline, self._repeat)

    def _open(self) -> list[_Open]:
        return [*self._pending.values(), *self._cancelled.values()]

    def _repeat(self, call: _Open) -> None:
        now = self._clock.monotonic()
        if call.cancelled and now > call.deadline:
            self._give_up(call)  # the other node has ended the work by itself
            return
        try:
            if self._reachable():
                self._send(call.node, call.envelope(now), call.tag)
        except CairnError as error:
            _log.warning("bus.envelope-not-sent", node=call.node, message=call.tag, error=str(error))
        self._wait(call)

    def _cancel(self, call: _Open) -> None:
        if self._stopping or (call.future.done() and not call.future.cancelled()):
            return
        call.cancelled, call.times = True, 0
        call.request = replace(call.request, message=b"")
        self._wheel.discard(call)
        self._cancelled[call.request.id] = call
        if len(self._cancelled) > _CANCELS:
            self._give_up(next(iter(self._cancelled.values())))
        self._repeat(call)

    def _give_up(self, call: _Open) -> None:
        """Wait no more for the answer to a cancel."""
        self._cancelled.pop(call.request.id, None)
        self._wheel.discard(call)

    def _wait(self, call: _Open) -> None:
        """Send it again after a pause."""
        call.at = self._clock.monotonic() + PAUSES_SECONDS[min(call.times, len(PAUSES_SECONDS) - 1)]
        call.times += 1
        self._wheel.add(call)


def stopped(what: str) -> CairnError:
    """``bus.stopped``: this node is going out of service."""
    return CairnError(
        "bus.stopped", f"{what}: the node is stopping. Ask again in a moment.", kind=ErrorKind.UNAVAILABLE
    )


def _decode_answer(message: Message, body: bytes) -> object:
    try:
        return msgspec.msgpack.decode(body, type=answer_type(type(message)))
    except msgspec.MsgspecError as error:
        raise internal(f"The answer to {tag_of(message)} from another node", error) from error
