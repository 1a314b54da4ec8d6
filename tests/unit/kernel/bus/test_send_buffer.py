from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.kernel.bus.send_buffer import Batch, SendBuffer, envelopes_of


def test_what_waits_for_one_receiver_goes_together_in_its_order() -> None:
    buffer = SendBuffer()
    for number in range(3):
        buffer.put("a", b"%d" % number)
    assert buffer.take().envelopes == [b"0", b"1", b"2"]
    assert not buffer


def test_batches_are_bounded_and_one_that_is_larger_goes_alone() -> None:
    buffer = SendBuffer(batch_bytes=10, batch_envelopes=3)
    for size in (4, 6, 1, 20, 1, 1, 1, 1):
        buffer.put("a", bytes(size))
    sizes = []
    while buffer:
        sizes.append([len(envelope) for envelope in buffer.take().envelopes])
    assert sizes == [[4, 6], [1], [20], [1, 1, 1], [1]]


def test_receivers_take_turns() -> None:
    buffer = SendBuffer(batch_envelopes=1)
    for _ in range(3):
        buffer.put("busy", b"x")
    buffer.put("other", b"y")
    assert [buffer.take().receiver for _ in range(4)] == ["busy", "other", "busy", "busy"]


def test_what_is_under_way_counts_until_it_is_done() -> None:
    buffer = SendBuffer(most_bytes=10)
    assert buffer.put("a", bytes(8))
    assert not buffer.put("b", bytes(3))
    batch = buffer.take()
    assert not buffer.put("b", bytes(3))
    buffer.done(batch)
    assert buffer.put("b", bytes(3))
    assert buffer.bytes == 3


def test_what_comes_back_goes_before_what_came_later() -> None:
    buffer = SendBuffer(batch_envelopes=2)
    for number in range(5):
        buffer.put("a", b"%d" % number)
    first, second = buffer.take(), buffer.take()
    buffer.put("a", b"5")
    buffer.back([first, second])
    found: list[bytes] = []
    while buffer:
        found += buffer.take().envelopes
    assert found == [b"0", b"1", b"2", b"3", b"4", b"5"]


@given(st.lists(st.binary(max_size=50), min_size=1))
def test_batch_survives_the_way(envelopes: list[bytes]) -> None:
    batch = Batch("a", envelopes)
    assert envelopes_of(batch.body()) == envelopes
    assert batch.size == sum(map(len, envelopes))


@pytest.mark.parametrize("body", [b"", b"\xc1", msgspec.msgpack.encode([1]), msgspec.msgpack.encode({"a": b"b"})])
def test_what_is_no_batch_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        envelopes_of(body)


@given(st.lists(st.sampled_from(["put-a", "put-b", "take", "done", "back"]), max_size=60))
def test_nothing_is_lost_or_doubled_and_the_order_of_each_receiver_stays(script: list[str]) -> None:
    buffer = SendBuffer(batch_envelopes=3)
    put: dict[str, list[bytes]] = {"a": [], "b": []}
    taken: list[Batch] = []
    arrived: dict[str, list[bytes]] = {"a": [], "b": []}
    for step in script:
        if step.startswith("put"):
            receiver = step[-1]
            put[receiver].append(b"%d" % len(put[receiver]))
            assert buffer.put(receiver, put[receiver][-1])
        elif step == "take" and buffer:
            taken.append(buffer.take())
        elif step == "done" and taken:
            batch = taken.pop(0)
            arrived[batch.receiver] += batch.envelopes
            buffer.done(batch)
        elif step == "back":
            buffer.back(taken)
            taken.clear()
    buffer.back(taken)
    while buffer:
        batch = buffer.take()
        arrived[batch.receiver] += batch.envelopes
        buffer.done(batch)
    assert arrived == put
    assert buffer.bytes == 0
