"""Requests without sockets, and their faults."""

from __future__ import annotations

import asyncio

import pytest

from cairn.kernel.agent.http import AgentTransport, AnswerLost, ConnectFailed, ExchangeTimeout
from cairn.testing.clock import VirtualClock
from cairn.testing.transport import MemoryTransport


class Echo:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.handled: list[tuple[str, str, bytes | None]] = []
        self.transport = MemoryTransport(self.handle, self.clock)

    async def handle(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        self.handled.append((method, path, body))
        return 200, body or b""


async def test_request_reaches_the_handler_with_its_path() -> None:
    echo = Echo()
    transport: AgentTransport = echo.transport
    assert await transport.request("POST", "http://a:1/hosts/b?c=d", b"x", 5) == (200, b"x")
    assert await transport.request("GET", "http://a:1", None, 5) == (200, b"")
    assert echo.handled == [("POST", "/hosts/b?c=d", b"x"), ("GET", "/", None)]
    assert echo.clock.pending() == 0


async def test_dead_host_refuses_and_others_do_not() -> None:
    echo = Echo()
    echo.transport.dead.add("http://a/hosts/1")
    with pytest.raises(ConnectFailed):
        await echo.transport.request("GET", "http://a/hosts/1/v1/ping", None, 5)
    assert (await echo.transport.request("GET", "http://a/hosts/2/v1/ping", None, 5))[0] == 200


async def test_lost_request_is_not_handled_and_lost_answer_is() -> None:
    echo = Echo()
    echo.transport.lose_requests = 1
    with pytest.raises(AnswerLost):
        await echo.transport.request("GET", "http://a/1", None, 5)
    assert not echo.handled
    echo.transport.lose_answers = 1
    with pytest.raises(AnswerLost):
        await echo.transport.request("GET", "http://a/2", None, 5)
    assert len(echo.handled) == 1


async def test_answer_sent_twice_takes_the_place_of_the_next() -> None:
    echo = Echo()
    echo.transport.answer_twice = 1
    answers = [(await echo.transport.request("POST", "http://a/", body, 5))[1] for body in (b"1", b"2", b"3")]
    assert answers == [b"1", b"1", b"3"]


async def test_delay_longer_than_the_timeout_is_a_timeout_at_its_time() -> None:
    echo = Echo()
    echo.transport.delay_seconds = 10
    with pytest.raises(ExchangeTimeout):
        await echo.clock.run(echo.transport.request("GET", "http://a/", None, 4))
    assert echo.clock.monotonic() == 4
    assert await echo.clock.run(echo.transport.request("GET", "http://a/", None, 11)) == (200, b"")
    assert echo.clock.monotonic() == 14


async def test_cancelled_request_is_cancelled_and_not_a_timeout() -> None:
    echo = Echo()
    echo.transport.delay_seconds = 10
    call = asyncio.create_task(echo.transport.request("GET", "http://a/", None, 60))
    await echo.clock.advance(1)
    call.cancel()
    await echo.clock.advance(60)
    assert call.cancelled()
    assert not echo.handled
    assert echo.clock.pending() == 0
