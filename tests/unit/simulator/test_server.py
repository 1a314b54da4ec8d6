"""The simulator's HTTP server, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from cairn.agents.protocol.network import EnsureBridge
from cairn.kernel.agent.client import AgentClient, AgentEndpoint
from cairn.kernel.agent.http import AnswerLost, HttptoolsTransport
from cairn.kernel.clock import SystemClock
from cairn.kernel.ids import RandomIds
from cairn.simulator.agents import SimulatedAgents
from cairn.simulator.control import Control
from cairn.simulator.dials import Dial
from cairn.simulator.server import SimulatorServer
from cairn.simulator.world import new_world


class Site:
    def __init__(self) -> None:
        self.agents = SimulatedAgents(new_world(2), SystemClock())
        self.server = SimulatorServer(self.agents, Control(self.agents, lambda: new_world(2)))
        self.transport = HttptoolsTransport(SystemClock())
        self.client = AgentClient(self.transport, SystemClock(), RandomIds(1), None)
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def endpoint(self) -> AgentEndpoint:
        return AgentEndpoint(f"{self.url}/hosts/sim-0001")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    site.port = await site.server.start("127.0.0.1", 0)
    yield site
    await site.transport.aclose()
    await site.server.stop()
    await site.server.stop()


BRIDGE = EnsureBridge(bridge="br0")


async def test_agents_and_control_answer_on_one_port(site: Site) -> None:
    await site.client.call(site.endpoint, BRIDGE, timeout_seconds=5)
    status, body = await site.transport.request("GET", f"{site.url}/inspect/summary", None, 5)
    assert (status, msgspec.json.decode(body)["bridges"]) == (200, 1)
    assert len(site.server.connections) == 1


async def test_dead_host_closes_the_connection(site: Site) -> None:
    site.agents.dials.turn(Dial(host="sim-0001", dead=True))
    with pytest.raises(AnswerLost):
        await site.transport.request("GET", f"{site.endpoint.base_url}/v1/ping", None, 5)


async def test_lost_answer_does_not_hurt_the_caller(site: Site) -> None:
    site.agents.dials.turn(Dial(lost_next=1))
    await site.client.call(site.endpoint, BRIDGE, timeout_seconds=5)
    assert site.agents.changes == 1


async def test_answer_sent_twice_does_not_hurt_the_next_call(site: Site) -> None:
    site.agents.dials.turn(Dial(duplicate_rate=1))
    for number in range(10):
        await site.client.call(site.endpoint, EnsureBridge(bridge=f"br{number}"), timeout_seconds=5)
    assert site.agents.changes == 10


async def raw(site: Site, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(data)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    return answer


async def test_caller_that_closes_gets_its_answer_first(site: Site) -> None:
    answer = await raw(site, b"GET /dials HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b'{"dials":[]}')


async def test_requests_in_one_piece_are_answered_in_their_order(site: Site) -> None:
    one = b"GET /dials HTTP/1.1\r\nHost: a\r\n\r\n"
    last = b"GET /hosts HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    answer = await raw(site, one + one + last)
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert answer.count(b'{"dials":[]}') == 2


async def test_what_is_not_http_is_closed(site: Site) -> None:
    assert await raw(site, b"hello\r\n\r\n") == b""
