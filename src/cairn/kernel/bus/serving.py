"""Calls from other nodes: the server's half.

Each request is a task. It runs only if this node's ring agrees that the resource is its own, or if this very node is
named; otherwise it is refused untouched, and the asker, whose ring was older or newer, resolves the owner again.

A request that comes again, because the transport repeats it or its asker has no answer yet, is not run again. While it is
served it is let pass; later the answer that was given is sent again. If that is forgotten already (`Answered`), the asker is
told so. A cancel that comes before its request is remembered, so that the request finds itself cancelled.

Processes come and go under one node's id, and envelopes may be late. So a request says in which epoch its process joined
(its incarnation), and which list of members it knew:

- one of a process that has left since, by the ring or because a later process of that node has asked, is refused, and its
  work is cancelled: nobody waits, and its job is being taken over;
- one that knew a list from before this process joined was meant for the process before, which may have done it. So nothing is
  taken before this process has joined.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

import msgspec
import structlog

from cairn.kernel.bus.answered import Answered
from cairn.kernel.bus.asking import stopped
from cairn.kernel.bus.context import CallContext, entered
from cairn.kernel.bus.lateness import Lateness
from cairn.kernel.bus.message import Message, decode_message, tag_of
from cairn.kernel.bus.tasks import Tasks
from cairn.kernel.bus.transport import Answer, Cancel, Request, node_gone, not_owner, pack
from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError, ErrorKind, internal
from cairn.kernel.ids import NodeId
from cairn.kernel.ring import Ring

_log = structlog.get_logger("cairn.bus")

#: a request that is later than this may be a copy of one that came long ago
_LATE_SECONDS = 1.0


class _Asker:
    """A process that asks."""

    __slots__ = ("cancelled", "incarnation", "lateness", "tasks")

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self.lateness = Lateness()
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.cancelled: set[str] = set()

    def cancel(self, request: str) -> None:
        """Cancel a task, once: a second time would break off its clean-up."""
        if request not in self.cancelled:
            self.cancelled.add(request)
            self.tasks[request].cancel()

    def ended(self, request: str) -> None:
        """A task has ended."""
        self.tasks.pop(request, None)
        self.cancelled.discard(request)


class Serving:
    """One node's work for the other nodes.

    Args:
        node: this node.
        ring: who the members are.
        clock: time.
        incarnation: the epoch in which this process joined; 0: it has not, and does nothing for others.
        call_here: handles a message on this node.
        send: brings a packed envelope to a node. It does not raise.
    """

    def __init__(
        self,
        node: NodeId,
        ring: Ring,
        clock: Clock,
        incarnation: Callable[[], int],
        call_here: Callable[[Any], Awaitable[Any]],
        send: Callable[[NodeId, bytes], None],
    ) -> None:
        self._node = node
        self._ring = ring
        self._clock = clock
        self._incarnation = incarnation
        self._call_here = call_here
        self._send = send
        self._askers: dict[NodeId, _Asker] = {}
        self._least: dict[NodeId, int] = {}  # processes of a node that joined before have left
        self._answered = Answered(clock)
        self._tasks = Tasks()
        self._stopping = False

    def start(self) -> None:
        """Take requests, also after a `stop`."""
        self._stopping = False

    async def stop(self) -> None:
        """Answer what is served with ``bus.stopped``, and wait for its ends. Later requests are dropped."""
        self._stopping = True
        await self._tasks.stop()
        self._answered.clear()
        self._askers.clear()

    @property
    def count(self) -> int:
        """How many requests are at work."""
        return sum(len(asker.tasks) for asker in self._askers.values())

    def take(self, request: Request) -> None:
        """A request has come in."""
        if self._stopping or not self._incarnation():
            return  # it comes again, or the ring says that this node has left
        refusal = self._refusal(request)
        asker = self._asker(request) if refusal is None else None
        if asker is None:
            self._send(request.sender, _error(self._node, request, refusal or _asker_gone(request.sender)))
            return
        now = self._clock.monotonic()
        late = asker.lateness.of(request.sent, now)
        begun = now - late - request.age
        again = request.age > 0 or late > _LATE_SECONDS
        if request.id in asker.tasks or self._answered_before(request, begun, again=again):
            return
        work = self._serve(request, asker, begun, now + request.seconds - late)
        task = asker.tasks[request.id] = self._tasks.start(work, f"request {request.id} of {request.sender}")
        task.add_done_callback(partial(self._ended, request, asker, begun))

    def cancel(self, cancel: Cancel) -> None:
        """An asker waits no more."""
        asker = self._askers.get(cancel.sender)
        key = (cancel.sender, cancel.id)
        if asker is not None and asker.incarnation == cancel.incarnation and cancel.id in asker.tasks:
            asker.cancel(cancel.id)
            return
        answer = self._answered.get(key)
        if answer is None:
            answer = _error(self._node, cancel, _cancelled())
            self._answered.add(key, self._clock.monotonic(), answer)
        self._send(cancel.sender, answer)

    def left(self, nodes: Iterable[NodeId], before: int) -> None:
        """These nodes have left. If this one has, nobody waits for what it does.

        Args:
            nodes: or those of their processes that joined in the epoch `before` or earlier.
            before: the last epoch in which they were members.
        """
        gone = frozenset(nodes)
        for node in gone:
            self._least[node] = max(self._least.get(node, 0), before + 1)
        for node in list(self._askers) if self._node in gone else gone:
            asker = self._askers.get(node)
            if asker is not None and asker.incarnation <= before:
                self._drop(node, asker)

    def _refusal(self, request: Request) -> CairnError | None:
        if request.incarnation < self._least.get(request.sender, 0):
            return _asker_gone(request.sender)
        if request.sender not in self._ring.alive and request.epoch <= self._ring.epoch:
            return _asker_gone(request.sender)
        if request.epoch < self._incarnation():
            return node_gone(self._node, "The request")
        return None

    def _asker(self, request: Request) -> _Asker | None:
        """The process that asks; None: a later process of that node has asked already."""
        asker = self._askers.get(request.sender)
        if asker is not None and asker.incarnation > request.incarnation:
            return None
        if asker is not None and asker.incarnation < request.incarnation:
            self._drop(request.sender, asker)
            asker = None
        if asker is None:
            asker = self._askers[request.sender] = _Asker(request.incarnation)
        return asker

    def _drop(self, node: NodeId, asker: _Asker) -> None:
        """Nobody waits for what `asker` has asked for."""
        del self._askers[node]
        self._answered.forget(node)
        for request in list(asker.tasks):
            asker.cancel(request)

    def _answered_before(self, request: Request, begun: float, *, again: bool) -> bool:
        """Whether a request was answered already; then it is answered again. `again`: it may have come before."""
        answer = self._answered.get((request.sender, request.id))
        if answer is None and again and self._answered.forgotten(begun):
            answer = _error(self._node, request, _answer_lost())
        if answer is None:
            return False
        self._send(request.sender, answer)
        return True

    async def _serve(self, request: Request, asker: _Asker, begun: float, deadline: float) -> None:
        self._give(request, asker, begun, await self._answer(request, deadline))

    def _ended(self, request: Request, asker: _Asker, begun: float, task: asyncio.Task[None]) -> None:
        """A task has ended; one that was cancelled, maybe before its first step, has not answered."""
        asker.ended(request.id)
        if task.cancelled():
            error = stopped("The request") if self._stopping else _cancelled()
            self._give(request, asker, begun, _error(self._node, request, error))

    def _give(self, request: Request, asker: _Asker, begun: float, answer: bytes) -> None:
        if self._askers.get(request.sender) is asker:
            self._answered.add((request.sender, request.id), begun, answer)
        self._send(request.sender, answer)

    async def _answer(self, request: Request, deadline: float) -> bytes:
        tag = "The answer"
        try:
            message = decode_message(request.message)
            tag = f"The answer to {tag_of(message)}"
            if not request.named:
                self._check_owner(message)
            with entered(_context_of(request, deadline)):
                body = msgspec.msgpack.encode(await self._call_here(message))
            return pack(_answer_of(self._node, request, body), tag)
        except CairnError as error:
            return _error(self._node, request, error)
        except Exception as error:  # noqa: BLE001 (whatever it is, the asking node is answered)
            _log.exception("bus.answer-failed", sender=request.sender)
            return _error(self._node, request, internal(tag, error))

    def _check_owner(self, message: Message) -> None:
        key = getattr(message, message.route) if message.route is not None else None
        if key is not None and self._ring.node_of(key) != self._node:
            raise not_owner(tag_of(message), self._node)


def _context_of(request: Request, deadline: float) -> CallContext:
    return CallContext(
        request.job, request.stack, deadline, request.actor, request.origin, request.parent, request.fence
    )


def _answer_of(node: NodeId, request: Request, body: bytes) -> Answer:
    return Answer(id=request.id, sender=node, incarnation=request.incarnation, body=body)


def _error(node: NodeId, asked: Request | Cancel, error: CairnError) -> bytes:
    answer = Answer(id=asked.id, sender=node, incarnation=asked.incarnation, error=error.record())
    try:
        return pack(answer, "The error")
    except CairnError as too_large:
        return pack(msgspec.structs.replace(answer, error=too_large.record()), "The error")


def _asker_gone(node: NodeId) -> CairnError:
    return CairnError(
        "bus.asker-gone",
        f"Node {node} asked, and is no member of the cloud, or has started again since; others take over its work. Nothing was "
        "done for this request; ask again.",
        kind=ErrorKind.UNAVAILABLE,
        details={"node": node},
    )


def _answer_lost() -> CairnError:
    return CairnError(
        "bus.answer-lost",
        "This was asked before, and it is not known any more whether it was done. See first whether it was, then ask again.",
        kind=ErrorKind.UNAVAILABLE,
    )


def _cancelled() -> CairnError:
    return CairnError(
        "bus.work-cancelled",
        "The request was cancelled by the node that sent it. Ask again if it is still wanted.",
        kind=ErrorKind.CANCELLED,
    )
