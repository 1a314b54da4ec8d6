"""What a transport does without a broker; with one it is tried in `tests/broker`."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from random import Random

import pytest
from tests.ports import free_port

from cairn.kernel import log
from cairn.kernel.bus.broker import Broker
from cairn.kernel.bus.rabbit import PAUSES_SECONDS, RabbitTransport
from cairn.kernel.clock import SystemClock
from cairn.kernel.ids import NodeId
from cairn.kernel.metrics import Metrics

A, B = NodeId("a"), NodeId("b")
PASSWORD = "s3cr3t"


class Impatient(SystemClock):
    """Notes how long somebody would sleep, and lets nobody; after so many times they sleep for good."""

    def __init__(self, times: int) -> None:
        self.pauses: list[float] = []
        self.enough = asyncio.Event()
        self._times = times

    async def sleep(self, seconds: float) -> None:
        """Wait for nothing."""
        self.pauses.append(seconds)
        if len(self.pauses) >= self._times:
            self.enough.set()
            await asyncio.Event().wait()


@pytest.fixture
def lines() -> io.StringIO:
    stream = io.StringIO()
    log.configure(stream, "debug", "json")
    return stream


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cairn.kernel.bus.rabbit.START_SECONDS", 0.01)


def nobody() -> Broker:
    return Broker(host="127.0.0.1", port=free_port(), user="me", password=PASSWORD, tls=False)


def metric(metrics: Metrics, name: str) -> float:
    lines = metrics.render().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


async def test_broker_that_is_away_is_tried_again_for_ever_with_growing_pauses(lines: io.StringIO) -> None:
    clock = Impatient(30)
    transport = RabbitTransport(nobody(), A, clock, Metrics(), Random(1))
    await transport.start()
    await asyncio.wait_for(clock.enough.wait(), 60)
    await transport.stop()
    first, longest = PAUSES_SECONDS
    assert first / 2 <= clock.pauses[0] <= 2 * first
    assert all(longest / 2 <= pause <= longest for pause in clock.pauses[6:])
    assert len(set(clock.pauses)) == 30  # no two nodes in step
    events = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["broker.away"]  # and not thirty times
    assert PASSWORD not in lines.getvalue()


async def test_trouble_says_that_the_broker_is_away_and_not_where_it_is() -> None:
    clock = Impatient(1)
    transport = RabbitTransport(broker := nobody(), A, clock, Metrics())
    assert transport.trouble() is None  # it was not looked for yet
    await transport.start()
    await asyncio.wait_for(clock.enough.wait(), 60)
    trouble = transport.trouble()
    await transport.stop()
    assert trouble is not None
    assert "broker" in trouble
    assert str(broker.port) not in trouble


async def test_what_finds_no_room_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics()
    transport = RabbitTransport(nobody(), A, Impatient(1), metrics)
    half = bytes(33 << 20)
    transport.send(B, half)
    assert metric(metrics, "cairn_broker_waiting_bytes") == len(half)
    transport.broadcast(half)
    transport.send(B, b"small")
    assert metric(metrics, "cairn_broker_dropped_total") == 1
    assert metric(metrics, "cairn_broker_waiting_bytes") == len(half) + 5


async def test_stopping_does_not_wait_for_a_broker_that_is_away() -> None:
    transport = RabbitTransport(nobody(), A, Impatient(1), Metrics())
    await transport.start()
    transport.send(B, b"x")
    await asyncio.wait_for(transport.stop(), 60)
    await transport.stop()


async def test_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch, lines: io.StringIO) -> None:
    monkeypatch.setattr("cairn.kernel.bus.rabbit.CONNECT_SECONDS", 0.05)
    monkeypatch.setattr("cairn.kernel.bus.rabbit._CLOSE_SECONDS", 0.05)
    ended = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        ended.set()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    clock = Impatient(1)
    broker = Broker(host="127.0.0.1", port=port, user="me", password=PASSWORD, tls=False)
    transport = RabbitTransport(broker, A, clock, Metrics())
    await transport.start()
    await asyncio.wait_for(clock.enough.wait(), 60)
    await asyncio.wait_for(ended.wait(), 60)
    await transport.stop()
    server.close()
    assert "TimeoutError" in lines.getvalue()


def test_libraries_do_not_log_what_goes_over_the_wire() -> None:
    for name in ("aio_pika", "aiormq.connection", "aiormq.channel"):
        assert not logging.getLogger(name).isEnabledFor(logging.CRITICAL)
