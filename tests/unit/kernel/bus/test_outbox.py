from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.kernel.bus.outbox import Batch, Outbox, envelopes_of


def test_what_waits_for_one_receiver_goes_together_in_its_order() -> None:
    outbox = Outbox()
    for number in range(3):
        outbox.put("a", b"%d" % number)
    assert outbox.take().envelopes == [b"0", b"1", b"2"]
    assert not outbox


def test_batches_are_bounded_and_one_that_is_larger_goes_alone() -> None:
    outbox = Outbox(batch_bytes=10, batch_envelopes=3)
    for size in (4, 6, 1, 20, 1, 1, 1, 1):
        outbox.put("a", bytes(size))
    sizes = []
    while outbox:
        sizes.append([len(envelope) for envelope in outbox.take().envelopes])
    assert sizes == [[4, 6], [1], [20], [1, 1, 1], [1]]


def test_receivers_take_turns() -> None:
    outbox = Outbox(batch_envelopes=1)
    for _ in range(3):
        outbox.put("busy", b"x")
    outbox.put("other", b"y")
    assert [outbox.take().receiver for _ in range(4)] == ["busy", "other", "busy", "busy"]


def test_what_is_under_way_counts_until_it_is_done() -> None:
    outbox = Outbox(most_bytes=10)
    assert outbox.put("a", bytes(8))
    assert not outbox.put("b", bytes(3))
    batch = outbox.take()
    assert not outbox.put("b", bytes(3))
    outbox.done(batch)
    assert outbox.put("b", bytes(3))
    assert outbox.bytes == 3


def test_what_comes_back_goes_before_what_came_later() -> None:
    outbox = Outbox(batch_envelopes=2)
    for number in range(5):
        outbox.put("a", b"%d" % number)
    first, second = outbox.take(), outbox.take()
    outbox.put("a", b"5")
    outbox.back([first, second])
    found: list[bytes] = []
    while outbox:
        found += outbox.take().envelopes
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
    outbox = Outbox(batch_envelopes=3)
    put: dict[str, list[bytes]] = {"a": [], "b": []}
    taken: list[Batch] = []
    arrived: dict[str, list[bytes]] = {"a": [], "b": []}
    for step in script:
        if step.startswith("put"):
            receiver = step[-1]
            put[receiver].append(b"%d" % len(put[receiver]))
            assert outbox.put(receiver, put[receiver][-1])
        elif step == "take" and outbox:
            taken.append(outbox.take())
        elif step == "done" and taken:
            batch = taken.pop(0)
            arrived[batch.receiver] += batch.envelopes
            outbox.done(batch)
        elif step == "back":
            outbox.back(taken)
            taken.clear()
    outbox.back(taken)
    while outbox:
        batch = outbox.take()
        arrived[batch.receiver] += batch.envelopes
        outbox.done(batch)
    assert arrived == put
    assert outbox.bytes == 0
