from __future__ import annotations

import msgspec
import pytest

from cairn.agents.protocol.fence import Fence
from cairn.kernel.bus.context import Origin
from cairn.kernel.bus.transport import (
    MAX_ENVELOPE_BYTES,
    Announcement,
    Answer,
    Cancel,
    Envelope,
    MemoryNetwork,
    NoTransport,
    Request,
    pack,
    unpack,
)
from cairn.kernel.error import CairnError
from cairn.kernel.ids import JobId, NodeId
from cairn.testing.clock import VirtualClock

A, B = NodeId("a"), NodeId("b")


class Wire:
    """A network with B listening at its end."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.network = MemoryNetwork(clock)
        self.received: list[tuple[float, bytes]] = []
        self.a, self.b = self.network.transport(A), self.network.transport(B)
        self.b.on_receive(lambda envelope: self.received.append((clock.monotonic(), envelope)))


@pytest.fixture
async def wire(clock: VirtualClock) -> Wire:
    wire = Wire(clock)
    await wire.b.start()
    return wire


@pytest.mark.parametrize(
    "envelope",
    [
        Request(id="1", sender=A, message=b"m", seconds=1.5, job=JobId("j"), stack=("x",), actor="y"),
        Request(
            id="1",
            sender=A,
            message=b"m",
            seconds=1.5,
            incarnation=3,
            epoch=4,
            age=5.0,
            sent=6.0,
            parent="p",
            fence=Fence(resource="vm:a", epoch=4, node="n"),
            named=True,
            origin=Origin(address="192.0.2.1"),
        ),
        Answer(id="1", sender=A, incarnation=3, body=b"b"),
        Answer(id="1", sender=A, error=CairnError("a.b", "c").record()),
        Cancel(id="1", sender=A),
        Announcement(sender=A, message=b"m"),
    ],
)
def test_envelopes_survive_packing(envelope: Envelope) -> None:
    assert unpack(pack(envelope, "it")) == envelope


@pytest.mark.parametrize("data", [b"\xc1", bytes(MAX_ENVELOPE_BYTES + 1)], ids=["garbage", "too large"])
def test_what_is_no_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        unpack(data)


def test_what_is_too_large_is_not_packed() -> None:
    with pytest.raises(CairnError) as caught:
        pack(Answer(id="1", sender=A, body=bytes(MAX_ENVELOPE_BYTES)), "The answer to a.b")
    assert caught.value.code == "bus.message-too-large"
    assert caught.value.details["most"] == MAX_ENVELOPE_BYTES


def test_fields_of_a_newer_node_are_left_out() -> None:
    newer = msgspec.msgpack.decode(pack(Cancel(id="1", sender=A), "it")) | {"why": "later"}
    assert unpack(msgspec.msgpack.encode(newer)) == Cancel(id="1", sender=A)


async def test_envelope_arrives_after_the_delay_as_often_as_set(wire: Wire) -> None:
    wire.network.delay_seconds = 2.0
    wire.network.copies = 2
    wire.a.send(B, b"x")
    await wire.clock.advance(3)
    assert wire.received == [(2.0, b"x"), (2.0, b"x")]


async def test_broadcast_reaches_everybody_else(wire: Wire) -> None:
    heard: list[bytes] = []
    wire.a.on_receive(heard.append)
    await wire.a.start()
    wire.a.broadcast(b"x")
    await wire.clock.advance(0)
    assert (wire.received, heard) == ([(0.0, b"x")], [])


async def test_cut_loses_both_directions_until_mended(wire: Wire) -> None:
    wire.network.cut(B, A)
    wire.a.send(B, b"lost")
    wire.network.mend()
    wire.a.send(B, b"kept")
    await wire.clock.advance(0)
    assert [envelope for _, envelope in wire.received] == [b"kept"]


async def test_dial_chooses_what_gets_lost(wire: Wire) -> None:
    wire.network.drop = lambda source, target, envelope: envelope == b"lost"
    wire.a.send(B, b"lost")
    wire.a.send(B, b"kept")
    await wire.clock.advance(0)
    assert [envelope for _, envelope in wire.received] == [b"kept"]


async def test_stopped_end_receives_nothing(wire: Wire) -> None:
    await wire.b.stop()
    await wire.b.stop()
    wire.a.send(B, b"lost")
    await wire.clock.advance(0)
    assert wire.received == []


async def test_node_that_is_alone_can_reach_nobody() -> None:
    transport = NoTransport()
    transport.on_receive(lambda envelope: None)
    transport.on_resume(lambda: None)
    await transport.start()
    transport.broadcast(b"x")
    assert transport.trouble() is None
    with pytest.raises(CairnError) as caught:
        transport.send(B, b"x")
    await transport.stop()
    assert caught.value.code == "bus.node-gone"
