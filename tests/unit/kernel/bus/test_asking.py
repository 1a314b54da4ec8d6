from __future__ import annotations

import asyncio
from typing import ClassVar

import pytest
from msgspec import Struct, msgpack

from cairn.kernel.bus.asking import PAUSES_SECONDS, Asking
from cairn.kernel.bus.context import CallContext, entered
from cairn.kernel.bus.message import Command
from cairn.kernel.bus.transport import Answer, Cancel, Envelope, Request
from cairn.kernel.error import CairnError
from cairn.kernel.ids import NodeId, RandomIds
from cairn.kernel.ring import Ring
from cairn.testing.clock import VirtualClock

HERE, THERE, ELSEWHERE = NodeId("here"), NodeId("there"), NodeId("elsewhere")
DEADLINE_SECONDS = 1000.0


class Tuned(Struct, frozen=True):
    pitch: int


class TunePiano(Command[Tuned], frozen=True, kw_only=True, tag="piano.tune"):
    route: ClassVar[str | None] = None


class Desk:
    """What one node asks of others, and when."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.sent: list[tuple[float, Envelope]] = []
        self.incarnation = 4
        self.error: CairnError | None = None
        ring = Ring()
        ring.set_members([HERE, THERE, ELSEWHERE], 5)
        self.reachable = True
        ids = RandomIds(seed=1)
        self.asking = Asking(HERE, ring, clock, ids, lambda: self.incarnation, self._send, lambda: self.reachable)

    def _send(self, node: NodeId, envelope: Envelope, what: str) -> None:
        assert (node, what) == (THERE, "piano.tune")
        if self.error is not None:
            raise self.error
        self.sent.append((self.clock.monotonic(), envelope))

    def ask(self) -> asyncio.Task[object]:
        """A call with a deadline."""
        with entered(CallContext(deadline=self.clock.monotonic() + DEADLINE_SECONDS)):
            return asyncio.create_task(self.asking.ask(THERE, TunePiano()))

    def answer(self, *, sender: NodeId = THERE, incarnation: int = 4, error: CairnError | None = None) -> None:
        """An answer to the last that was asked."""
        request = self.requests()[-1]
        body = b"" if error is not None else msgpack.encode(Tuned(pitch=440))
        record = None if error is None else error.record()
        self.asking.take(Answer(id=request.id, sender=sender, incarnation=incarnation, body=body, error=record))

    def requests(self) -> list[Request]:
        return [envelope for _, envelope in self.sent if isinstance(envelope, Request)]

    def cancels(self) -> list[float]:
        return [at for at, envelope in self.sent if isinstance(envelope, Cancel)]


@pytest.fixture
def desk(clock: VirtualClock) -> Desk:
    return Desk(clock)


async def code_of(call: asyncio.Task[object]) -> str:
    with pytest.raises(CairnError) as caught:
        await call
    return caught.value.code


async def test_request_is_sent_again_with_growing_pauses_until_it_is_answered(desk: Desk) -> None:
    call = desk.ask()
    await desk.clock.advance(60)
    assert [at for at, _ in desk.sent] == [0, 3, 9, 24, 39, 54]
    requests = desk.requests()
    assert len({request.id for request in requests}) == 1
    assert [request.age for request in requests] == [0, 3, 9, 24, 39, 54]
    assert [request.seconds for request in requests] == [DEADLINE_SECONDS - request.age for request in requests]
    assert [request.sent for request in requests] == [request.age for request in requests]
    assert {(request.incarnation, request.epoch) for request in requests} == {(4, 5)}
    desk.answer()
    assert await call == Tuned(pitch=440)
    await desk.clock.advance(60)
    assert len(desk.sent) == 6
    assert desk.clock.pending() == 0


async def test_incarnation_is_that_of_the_call_and_not_of_its_repetition(desk: Desk) -> None:
    call = desk.ask()
    await desk.clock.advance(0)
    desk.incarnation = 9
    await desk.clock.advance(3)
    assert [request.incarnation for request in desk.requests()] == [4, 4]
    desk.answer()
    assert await call == Tuned(pitch=440)


@pytest.mark.parametrize("wrong", [{"sender": ELSEWHERE}, {"incarnation": 3}])
async def test_answer_of_another_node_or_for_another_process_is_not_taken(desk: Desk, wrong: dict[str, object]) -> None:
    call = desk.ask()
    await desk.clock.advance(0)
    desk.answer(**wrong)  # type: ignore[arg-type]
    await desk.clock.advance(1)
    assert not call.done()
    desk.answer()
    assert await call == Tuned(pitch=440)


async def test_second_answer_is_dropped(desk: Desk) -> None:
    call = desk.ask()
    await desk.clock.advance(0)
    desk.answer()
    desk.answer(error=CairnError("piano.broken", "It broke."))
    assert await call == Tuned(pitch=440)
    desk.answer(error=CairnError("piano.broken", "It broke."))


async def test_transport_that_is_back_has_everything_open_sent_again_soon(desk: Desk) -> None:
    calls = [desk.ask() for _ in range(10)]
    await desk.clock.advance(100)
    desk.sent.clear()
    desk.asking.resume()
    await desk.clock.advance(1)
    assert len(desk.sent) == 10
    await desk.clock.advance(PAUSES_SECONDS[0])
    assert len(desk.sent) == 20  # the pauses begin anew, too
    desk.asking.stop()
    assert {await code_of(call) for call in calls} == {"bus.stopped"}


async def test_node_that_is_back_has_what_it_was_asked_sent_again_soon(desk: Desk) -> None:
    call = desk.ask()
    await desk.clock.advance(40)
    desk.sent.clear()
    desk.asking.resume(ELSEWHERE)
    await desk.clock.advance(1)
    assert desk.sent == []
    desk.asking.resume(THERE)
    await desk.clock.advance(1)
    assert len(desk.requests()) == 1
    desk.answer()
    assert await call == Tuned(pitch=440)


async def test_nothing_is_sent_again_while_the_transport_is_away(desk: Desk) -> None:
    call = desk.ask()
    await desk.clock.advance(1)
    desk.reachable = False
    await desk.clock.advance(60)
    assert len(desk.sent) == 1
    desk.reachable = True
    desk.asking.resume()
    await desk.clock.advance(1)
    assert len(desk.sent) == 2
    desk.answer()
    assert await call == Tuned(pitch=440)


async def test_cancel_is_sent_again_until_it_is_answered(desk: Desk) -> None:
    call = desk.ask()
    await desk.clock.advance(1)
    call.cancel()
    await desk.clock.advance(10)
    assert desk.cancels() == [1, 4, 10]
    desk.answer(error=CairnError("bus.work-cancelled", "It was cancelled."))
    await desk.clock.advance(100)
    assert desk.cancels() == [1, 4, 10]
    assert (len(desk.requests()), call.cancelled(), desk.clock.pending()) == (1, True, 0)


async def test_cancel_is_given_up_at_the_deadline_of_its_request(desk: Desk) -> None:
    call = desk.ask()
    await desk.clock.advance(DEADLINE_SECONDS - 20)
    call.cancel()
    await desk.clock.advance(100)
    assert desk.cancels()[-1] <= DEADLINE_SECONDS
    assert desk.clock.pending() == 0


async def test_cancel_ends_when_the_node_leaves(desk: Desk) -> None:
    call = desk.ask()
    await desk.clock.advance(1)
    call.cancel()
    await desk.clock.advance(1)
    desk.asking.left([THERE])
    await desk.clock.advance(100)
    assert desk.cancels() == [1]


@pytest.mark.parametrize(("left", "ended"), [(THERE, True), (HERE, True), (ELSEWHERE, False)])
async def test_call_ends_when_its_node_or_this_one_leaves(desk: Desk, left: NodeId, ended: bool) -> None:
    call = desk.ask()
    await desk.clock.advance(1)
    desk.asking.left([left])
    await desk.clock.advance(0)
    assert call.done() is ended
    if not ended:
        desk.answer()
        assert await call == Tuned(pitch=440)
    else:
        assert await code_of(call) == "bus.node-gone"
    assert desk.cancels() == []


async def test_what_cannot_be_sent_is_the_callers_error_and_is_not_repeated(desk: Desk) -> None:
    desk.error = CairnError("bus.message-too-large", "It is too large.")
    call = desk.ask()
    await desk.clock.advance(0)
    assert await code_of(call) == "bus.message-too-large"
    assert desk.clock.pending() == 0


async def test_repetition_that_cannot_be_sent_is_tried_later(desk: Desk) -> None:
    call = desk.ask()
    await desk.clock.advance(1)
    desk.error = CairnError("bus.node-gone", "It is gone.")
    await desk.clock.advance(2)
    desk.error = None
    await desk.clock.advance(6)
    assert [at for at, _ in desk.sent] == [0, 9]
    desk.answer()
    assert await call == Tuned(pitch=440)


async def test_cancels_that_are_never_answered_are_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cairn.kernel.bus.asking._CANCELS", 3)
    calls = [desk.ask() for _ in range(5)]
    await desk.clock.advance(1)
    for call in calls:
        call.cancel()
    await desk.clock.advance(3)
    assert [desk.cancels().count(at) for at in (1, 4)] == [5, 3]


async def test_stopped_node_asks_nobody(desk: Desk) -> None:
    desk.asking.stop()
    assert await code_of(desk.ask()) == "bus.stopped"
    desk.asking.start()
    call = desk.ask()
    await desk.clock.advance(0)
    desk.answer()
    assert await call == Tuned(pitch=440)
