from __future__ import annotations

import asyncio
import io
from typing import ClassVar

import pytest
from msgspec import Struct, msgpack, structs

from cairn.kernel.bus.context import CallContext, current
from cairn.kernel.bus.message import Command, Message, encode_message
from cairn.kernel.bus.serving import Serving
from cairn.kernel.bus.transport import MAX_ENVELOPE_BYTES, Answer, Cancel, Request, unpack
from cairn.kernel.error import CairnError
from cairn.kernel.ids import JobId, NodeId
from cairn.kernel.log import configure
from cairn.kernel.ring import Ring
from cairn.testing.clock import VirtualClock

HERE, ASKER, OTHER = NodeId("here"), NodeId("asker"), NodeId("other")


class Loaf(Struct, frozen=True):
    grams: int
    crumbs: bytes = b""


class BakeBread(Command[Loaf], frozen=True, kw_only=True, tag="bread.bake"):
    route: ClassVar[str | None] = "oven"
    oven: str | None = None
    minutes: float = 0.0
    crumbs: int = 0


class Bakery:
    """What one node does for others."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.baked = 0
        self.begun = 0
        self.cleaned = 0
        self.clean_seconds = 0.0
        self.contexts: list[CallContext] = []
        self.sent: list[tuple[NodeId, Answer]] = []
        self.incarnation = 3
        self.ring = Ring()
        self.ring.set_members([HERE, ASKER, OTHER], 5)
        self.serving = Serving(HERE, self.ring, clock, lambda: self.incarnation, self._bake, self._send)

    async def _bake(self, message: Message) -> Loaf:
        assert isinstance(message, BakeBread)
        self.begun += 1
        self.contexts.append(current())
        try:
            await self.clock.sleep(message.minutes * 60)
        except asyncio.CancelledError:
            await self.clock.sleep(self.clean_seconds)
            self.cleaned += 1
            raise
        self.baked += 1
        return Loaf(grams=500, crumbs=bytes(message.crumbs))

    def _send(self, node: NodeId, envelope: bytes) -> None:
        answer = unpack(envelope)
        assert isinstance(answer, Answer)
        self.sent.append((node, answer))

    def request(self, message: BakeBread | None = None, **fields: object) -> Request:
        """One by `ASKER`."""
        body = encode_message(message or BakeBread())
        usual = Request(
            id="r1", sender=ASKER, message=body, seconds=1000, incarnation=4, epoch=5, sent=self.clock.monotonic()
        )
        return structs.replace(usual, **fields)

    async def take(self, request: Request) -> None:
        self.serving.take(request)
        await self.clock.advance(0)

    def codes(self) -> list[str | None]:
        """Of the answers so far."""
        return [None if answer.error is None else answer.error.code for _, answer in self.sent]


@pytest.fixture
def bakery(clock: VirtualClock) -> Bakery:
    return Bakery(clock)


async def test_request_is_done_in_its_context_and_answered(bakery: Bakery) -> None:
    await bakery.take(bakery.request(job=JobId("job"), stack=("x",), actor="y", parent="run"))
    assert bakery.contexts == [CallContext(JobId("job"), ("x",), 1000.0, "y", parent="run")]
    [(node, answer)] = bakery.sent
    assert (node, answer.id, answer.sender, answer.incarnation) == (ASKER, "r1", HERE, 4)
    assert msgpack.decode(answer.body, type=Loaf) == Loaf(grams=500)


async def test_requests_at_work_are_counted(bakery: Bakery) -> None:
    await bakery.take(bakery.request(BakeBread(minutes=1)))
    await bakery.take(bakery.request(BakeBread(minutes=2), id="r2", sender=OTHER))
    assert bakery.serving.count == 2
    await bakery.clock.advance(60)
    assert bakery.serving.count == 1
    await bakery.clock.advance(60)
    assert bakery.serving.count == 0


async def test_request_that_comes_again_is_done_once_and_answered_as_often(bakery: Bakery) -> None:
    request = bakery.request(BakeBread(minutes=1))
    await bakery.take(request)
    await bakery.take(structs.replace(request, age=2.0, sent=0.0))
    assert (bakery.begun, bakery.sent) == (1, [])
    await bakery.clock.advance(60)
    await bakery.take(structs.replace(request, age=60.0, sent=60.0))
    assert (bakery.baked, bakery.codes()) == (1, [None, None])
    assert bakery.sent[0] == bakery.sent[1]


async def test_request_of_another_asker_may_have_the_same_id(bakery: Bakery) -> None:
    await bakery.take(bakery.request())
    await bakery.take(bakery.request(sender=OTHER))
    assert (bakery.baked, [node for node, _ in bakery.sent]) == (2, [ASKER, OTHER])


async def test_request_whose_answer_is_forgotten_is_not_done_again(bakery: Bakery) -> None:
    large = MAX_ENVELOPE_BYTES * 2 // 3
    await bakery.take(bakery.request(BakeBread(crumbs=large), id="first"))
    await bakery.clock.advance(10)
    for number in range(4):
        await bakery.take(bakery.request(BakeBread(crumbs=large), id=str(number)))
    bakery.sent.clear()
    await bakery.take(bakery.request(id="first", age=10.0))
    assert (bakery.baked, bakery.codes()) == (5, ["bus.answer-lost"])
    await bakery.take(bakery.request(id="new"))
    assert bakery.codes() == ["bus.answer-lost", None]


async def test_request_that_comes_after_its_deadline_is_left_to_the_deadline(bakery: Bakery) -> None:
    await bakery.take(bakery.request(id="fast"))
    sent = bakery.clock.monotonic()
    await bakery.clock.advance(30)
    await bakery.take(bakery.request(id="slow", sent=sent, seconds=20))
    assert bakery.contexts[-1].deadline == pytest.approx(20)  # which is over: the bus does nothing of it


async def test_cancel_ends_the_work_once_and_is_answered(bakery: Bakery) -> None:
    bakery.clean_seconds = 10
    await bakery.take(bakery.request(BakeBread(minutes=1)))
    for _ in range(3):
        bakery.serving.cancel(Cancel(id="r1", sender=ASKER, incarnation=4))
        await bakery.clock.advance(2)
    assert (bakery.cleaned, bakery.sent) == (0, [])
    await bakery.clock.advance(10)
    assert (bakery.cleaned, bakery.baked, bakery.codes()) == (1, 0, ["bus.work-cancelled"])
    bakery.serving.cancel(Cancel(id="r1", sender=ASKER, incarnation=4))
    assert bakery.codes() == ["bus.work-cancelled"] * 2


async def test_cancel_of_what_has_not_begun_is_answered(bakery: Bakery) -> None:
    bakery.serving.take(bakery.request())
    bakery.serving.cancel(Cancel(id="r1", sender=ASKER, incarnation=4))
    await bakery.clock.advance(0)
    assert (bakery.begun, bakery.codes()) == (0, ["bus.work-cancelled"])


async def test_request_that_comes_after_its_cancel_is_not_done(bakery: Bakery) -> None:
    bakery.serving.cancel(Cancel(id="r1", sender=ASKER, incarnation=4))
    await bakery.take(bakery.request())
    assert (bakery.begun, bakery.codes()) == (0, ["bus.work-cancelled"] * 2)


async def test_cancel_of_what_is_done_has_the_answer(bakery: Bakery) -> None:
    await bakery.take(bakery.request())
    bakery.serving.cancel(Cancel(id="r1", sender=ASKER, incarnation=4))
    assert bakery.codes() == [None, None]


async def test_later_process_of_a_node_ends_the_work_of_the_former_one(bakery: Bakery) -> None:
    await bakery.take(bakery.request(BakeBread(minutes=1)))
    await bakery.take(bakery.request(id="r2", incarnation=6, epoch=6))
    assert (bakery.cleaned, bakery.baked, bakery.codes()) == (1, 1, [None, "bus.work-cancelled"])
    await bakery.take(bakery.request(id="r3"))
    assert (bakery.begun, bakery.codes()[-1]) == (2, "bus.asker-gone")


async def test_work_for_a_node_that_has_left_ends_and_what_it_still_asks_is_refused(bakery: Bakery) -> None:
    await bakery.take(bakery.request(BakeBread(minutes=1)))
    bakery.ring.set_members([HERE, OTHER], 6)
    bakery.serving.left([ASKER], before=5)
    await bakery.clock.advance(0)
    await bakery.take(bakery.request(id="r2"))
    assert (bakery.cleaned, bakery.begun, bakery.codes()[-1]) == (1, 1, "bus.asker-gone")


async def test_former_process_of_a_node_that_has_started_again_is_refused(bakery: Bakery) -> None:
    bakery.ring.set_members([HERE, ASKER, OTHER], 6, restarted=[ASKER])
    bakery.serving.left([ASKER], before=5)
    await bakery.take(bakery.request(incarnation=5, epoch=5))
    assert (bakery.begun, bakery.codes()) == (0, ["bus.asker-gone"])
    await bakery.take(bakery.request(id="r2", incarnation=6, epoch=6))
    assert (bakery.begun, bakery.codes()[-1]) == (1, None)


async def test_node_that_has_started_again_is_served_even_if_the_ring_tells_of_it_later(bakery: Bakery) -> None:
    await bakery.take(bakery.request(BakeBread(minutes=1), incarnation=7, epoch=7))
    bakery.ring.set_members([HERE, ASKER, OTHER], 8, restarted=[ASKER])
    bakery.serving.left([ASKER], before=5)
    await bakery.clock.advance(60)
    assert (bakery.baked, bakery.codes()) == (1, [None])


async def test_node_that_is_no_member_is_served_only_if_it_may_have_joined_since(bakery: Bakery) -> None:
    stranger = NodeId("stranger")
    await bakery.take(bakery.request(sender=stranger, epoch=5))
    assert (bakery.begun, bakery.codes()) == (0, ["bus.asker-gone"])
    await bakery.take(bakery.request(id="r2", sender=stranger, epoch=6, incarnation=6))
    assert (bakery.begun, bakery.codes()[-1]) == (1, None)


async def test_request_that_was_meant_for_the_process_before_is_refused(bakery: Bakery) -> None:
    bakery.incarnation = 6
    await bakery.take(bakery.request(epoch=5))
    assert (bakery.begun, bakery.codes()) == (0, ["bus.node-gone"])


async def test_node_that_has_not_joined_does_nothing_for_others(bakery: Bakery) -> None:
    bakery.incarnation = 0
    await bakery.take(bakery.request())
    assert (bakery.begun, bakery.sent) == (0, [])
    bakery.incarnation = 5
    await bakery.take(bakery.request(age=3.0))
    assert (bakery.begun, bakery.codes()) == (1, [None])


async def test_node_that_has_left_itself_ends_what_it_does_for_others(bakery: Bakery) -> None:
    await bakery.take(bakery.request(BakeBread(minutes=1)))
    bakery.serving.left([HERE], before=5)
    await bakery.clock.advance(0)
    assert bakery.cleaned == 1


async def test_resource_of_another_node_is_refused_unless_this_one_is_named(bakery: Bakery) -> None:
    foreign = next(key for key in map(str, range(100)) if bakery.ring.node_of(key) != HERE)
    await bakery.take(bakery.request(BakeBread(oven=foreign)))
    await bakery.take(bakery.request(BakeBread(oven=foreign), id="r2", named=True))
    assert (bakery.begun, bakery.codes()) == (1, ["bus.not-owner", None])


async def test_answer_that_is_too_large_is_answered_with_an_error(bakery: Bakery) -> None:
    await bakery.take(bakery.request(BakeBread(crumbs=MAX_ENVELOPE_BYTES)))
    assert bakery.codes() == ["bus.message-too-large"]


async def test_error_that_is_too_large_is_answered_with_a_smaller_one(clock: VirtualClock) -> None:
    bakery = Bakery(clock)

    async def fail(_: object) -> object:
        raise CairnError("bread.burnt", "x" * MAX_ENVELOPE_BYTES)

    bakery.serving = Serving(HERE, bakery.ring, clock, lambda: 3, fail, bakery._send)
    await bakery.take(bakery.request())
    assert bakery.codes() == ["bus.message-too-large"]


@pytest.mark.parametrize(
    ("message", "code"),
    [(msgpack.encode({"@message": "bread.slice"}), "bus.unknown-message"), (b"\xc1", "bus.malformed-message")],
)
async def test_what_this_node_does_not_know_is_answered(bakery: Bakery, message: bytes, code: str) -> None:
    await bakery.take(structs.replace(bakery.request(), message=message))
    assert bakery.codes() == [code]


async def test_bug_is_answered(clock: VirtualClock) -> None:
    bakery = Bakery(clock)

    async def fail(_: object) -> object:
        return object()  # which cannot be encoded

    configure(io.StringIO())
    bakery.serving = Serving(HERE, bakery.ring, clock, lambda: 3, fail, bakery._send)
    await bakery.take(bakery.request())
    assert bakery.codes() == ["internal.bug"]


async def test_stopping_answers_what_is_served_and_takes_nothing_more(bakery: Bakery) -> None:
    await bakery.take(bakery.request(BakeBread(minutes=1)))
    await bakery.serving.stop()
    assert (bakery.cleaned, bakery.codes()) == (1, ["bus.stopped"])
    await bakery.take(bakery.request(id="r2"))
    assert bakery.begun == 1
    assert bakery.clock.pending() == 0
    bakery.serving.start()
    await bakery.take(bakery.request(id="r3"))
    assert bakery.codes()[-1] is None
