from __future__ import annotations

from cairn.kernel.bus.answered import Answered
from cairn.kernel.ids import NodeId
from cairn.testing.clock import VirtualClock

A, B = NodeId("a"), NodeId("b")


def test_answer_is_found_by_asker_and_request(clock: VirtualClock) -> None:
    answered = Answered(clock)
    answered.add((A, "1"), 0.0, b"yes")
    assert answered.get((A, "1")) == b"yes"
    assert answered.get((B, "1")) is None


def test_oldest_are_forgotten_beyond_the_number_and_leave_a_mark(clock: VirtualClock) -> None:
    answered = Answered(clock, most=2)
    for number in range(4):
        answered.add((A, str(number)), 10.0 * number, b"")
    assert [answered.get((A, str(number))) for number in range(4)] == [None, None, b"", b""]
    assert answered.forgotten(10.0)  # as the second one, which is not known any more
    assert not answered.forgotten(20.0)


def test_oldest_are_forgotten_beyond_the_bytes(clock: VirtualClock) -> None:
    answered = Answered(clock, most_bytes=10)
    answered.add((A, "1"), 0.0, bytes(6))
    answered.add((A, "2"), 5.0, bytes(6))
    assert (len(answered), answered.get((A, "1"))) == (1, None)
    assert answered.forgotten(0.0)
    assert not answered.forgotten(5.0)


async def test_each_is_forgotten_after_its_time(clock: VirtualClock) -> None:
    answered = Answered(clock, seconds=100)
    answered.add((A, "1"), 0.0, b"x")
    await clock.advance(60)
    answered.add((A, "2"), 60.0, b"x")
    await clock.advance(50)
    assert [answered.get((A, name)) for name in "12"] == [None, b"x"]
    await clock.advance(100)
    assert len(answered) == 0
    assert clock.pending() == 0


def test_what_was_given_to_one_asker_can_be_forgotten_without_a_mark(clock: VirtualClock) -> None:
    answered = Answered(clock, most_bytes=10)
    answered.add((A, "1"), 5.0, bytes(6))
    answered.add((B, "1"), 6.0, bytes(4))
    answered.forget(A)
    answered.add((B, "2"), 7.0, bytes(6))
    assert [answered.get((B, name)) for name in "12"] == [bytes(4), bytes(6)]
    assert not answered.forgotten(5.0)


def test_nothing_is_left_of_what_is_cleared(clock: VirtualClock) -> None:
    answered = Answered(clock)
    answered.add((A, "1"), 0.0, b"x")
    answered.clear()
    assert (len(answered), clock.pending()) == (0, 0)
