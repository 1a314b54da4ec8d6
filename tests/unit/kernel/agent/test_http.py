"""The transport, against servers on loopback that do as they are told."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from cairn.agents.protocol.peer import PeerRole, peer_context
from cairn.kernel.agent.http import AnswerLost, ConnectFailed, ExchangeTimeout, HttptoolsTransport
from cairn.kernel.clock import SystemClock
from cairn.testing.clock import VirtualClock
from cairn.testing.shared import authority_in

Behave = Callable[["Seen"], Awaitable[bytes | None]]


def reply(body: bytes = b"{}", status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


class Seen:
    """One request as the server saw it."""

    def __init__(self, connection: int, head: str, body: bytes) -> None:
        self.connection = connection
        self.head = head
        self.line = head.split("\r\n")[0]
        self.body = body


class Server:
    """Answers each request with what `behave` returns; None closes the connection."""

    def __init__(self, behave: Behave) -> None:
        self.behave = behave
        self.seen: list[Seen] = []
        self.connections = 0
        self.open: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, context: ssl.SSLContext | None = None) -> str:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        port = self.server.sockets[0].getsockname()[1]
        return f"{'https' if context else 'http'}://127.0.0.1:{port}"

    async def stop(self) -> None:
        self.server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open.append(writer)
        number = self.connections
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                size = [int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:")]
                seen = Seen(number, head, await reader.readexactly(size[0]) if size else b"")
                self.seen.append(seen)
                answer = await self.behave(seen)
                if answer is None:
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)


@pytest.fixture
async def servers() -> AsyncIterator[Callable[..., Awaitable[tuple[Server, str]]]]:
    started: list[Server] = []

    async def start(behave: Behave, context: ssl.SSLContext | None = None) -> tuple[Server, str]:
        server = Server(behave)
        started.append(server)
        return server, await server.start(context)

    yield start
    for server in started:
        await server.stop()


Start = Callable[..., Awaitable[tuple[Server, str]]]


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until the condition holds; sockets need real time for that, though no fixed one."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def ok(seen: Seen) -> bytes:
    return reply(seen.body or b"{}")


async def test_request_carries_method_path_host_and_body(servers: Start) -> None:
    server, url = await servers(ok)
    transport = HttptoolsTransport(SystemClock())
    assert await transport.request("POST", f"{url}/hosts/a/v1/commands", b'{"a":1}', 5) == (200, b'{"a":1}')
    seen = server.seen[0]
    assert seen.line == "POST /hosts/a/v1/commands HTTP/1.1"
    assert f"Host: {url[7:]}\r\n" in seen.head
    assert "Content-Type: application/json\r\n" in seen.head
    await transport.aclose()


async def test_connection_is_kept_for_the_next_request(servers: Start) -> None:
    server, url = await servers(ok)
    transport = HttptoolsTransport(SystemClock())
    for _ in range(5):
        await transport.request("GET", url, None, 5)
    assert server.connections == 1
    assert transport.counts() == {"open": 1, "idle": 1, "opening": 0, "waiting": 0}
    await transport.aclose()
    assert transport.counts()["open"] == 0


async def test_connection_closed_by_the_server_is_not_used_again(servers: Start) -> None:
    async def once(seen: Seen) -> bytes:
        return reply(headers="Connection: close\r\n")

    server, url = await servers(once)
    transport = HttptoolsTransport(SystemClock())
    for _ in range(2):
        assert (await transport.request("GET", url, None, 5))[0] == 200
    assert server.connections == 2
    await transport.aclose()


async def test_request_on_a_connection_that_was_closed_while_idle_is_sent_again(servers: Start) -> None:
    async def every_other(seen: Seen) -> bytes | None:
        return None if seen.connection == 1 and seen.line.startswith("POST") else reply()

    server, url = await servers(every_other)
    transport = HttptoolsTransport(SystemClock())
    await transport.request("GET", url, None, 5)
    assert await transport.request("POST", url, b"{}", 5) == (200, b"{}")
    assert [seen.connection for seen in server.seen] == [1, 1, 2]
    await transport.aclose()


async def test_idle_connection_that_the_server_closed_is_noticed(servers: Start) -> None:
    server, url = await servers(ok)
    transport = HttptoolsTransport(SystemClock())
    await transport.request("GET", url, None, 5)
    server.open[0].close()
    await until(lambda: transport.counts()["open"] == 0)
    assert (await transport.request("GET", url, None, 5))[0] == 200
    assert server.connections == 2
    await transport.aclose()


async def test_answer_lost_on_a_fresh_connection_is_told_and_not_repeated(servers: Start) -> None:
    async def never(seen: Seen) -> None:
        return None

    server, url = await servers(never)
    transport = HttptoolsTransport(SystemClock())
    with pytest.raises(AnswerLost) as caught:
        await transport.request("POST", url, b"{}", 5)
    assert caught.value.sent
    assert len(server.seen) == 1
    await transport.aclose()


async def test_half_an_answer_is_a_lost_answer(servers: Start) -> None:
    async def half(seen: Seen) -> bytes | None:
        if seen.line.startswith("GET"):
            return reply()
        server.open[-1].write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        return None

    server, url = await servers(half)
    transport = HttptoolsTransport(SystemClock())
    await transport.request("GET", url, None, 5)
    with pytest.raises(AnswerLost):
        await transport.request("POST", url, b"{}", 5)
    assert len(server.seen) == 2
    await transport.aclose()


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
async def test_what_is_not_http_is_a_lost_answer(servers: Start, answer: bytes) -> None:
    async def other(seen: Seen) -> bytes:
        return answer

    _, url = await servers(other)
    transport = HttptoolsTransport(SystemClock())
    with pytest.raises(AnswerLost, match="does not speak HTTP"):
        await transport.request("GET", url, None, 5)
    await transport.aclose()


async def test_answer_that_is_too_long_is_refused(servers: Start) -> None:
    async def long(seen: Seen) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 5000

    _, url = await servers(long)
    transport = HttptoolsTransport(SystemClock(), max_body_bytes=1000)
    with pytest.raises(AnswerLost, match="more than 1000 bytes"):
        await transport.request("GET", url, None, 5)
    await transport.aclose()


@pytest.mark.parametrize("surplus", [reply(b"1"), reply(b"1")[:5], reply(b"1")[:-1]])
async def test_answer_sent_twice_closes_the_connection(servers: Start, surplus: bytes) -> None:
    async def twice(seen: Seen) -> bytes:
        return reply(b"1") + surplus if seen.connection == 1 else reply(b"2")

    server, url = await servers(twice)
    transport = HttptoolsTransport(SystemClock())
    assert await transport.request("GET", url, None, 5) == (200, b"1")
    assert await transport.request("GET", url, None, 5) == (200, b"2")
    assert server.connections == 2
    await transport.aclose()


async def test_answer_in_many_pieces_and_chunks_is_put_together(servers: Start) -> None:
    async def chunked(seen: Seen) -> bytes:
        for piece in (b"HTTP/1.1 200 OK\r\nTransfer-", b"Encoding: chunked\r\n\r\n", b"3\r\nabc\r\n", b"2\r\nde\r\n"):
            server.open[-1].write(piece)
            await server.open[-1].drain()
        return b"0\r\n\r\n"

    server, url = await servers(chunked)
    transport = HttptoolsTransport(SystemClock())
    assert await transport.request("GET", url, None, 5) == (200, b"abcde")
    await transport.aclose()


async def test_refused_connection_is_told_with_its_address() -> None:
    transport = HttptoolsTransport(SystemClock())
    with pytest.raises(ConnectFailed, match=r"no connection to 127\.0\.0\.1:9") as caught:
        await transport.request("GET", "http://127.0.0.1:9/x", None, 5)
    assert not caught.value.sent
    assert transport.counts() == {"open": 0, "idle": 0, "opening": 0, "waiting": 0}
    await transport.aclose()


async def test_tls_without_certificates_is_refused_with_what_to_do() -> None:
    transport = HttptoolsTransport(SystemClock())
    with pytest.raises(ConnectFailed, match="authority"):
        await transport.request("GET", "https://127.0.0.1:9/x", None, 5)
    await transport.aclose()


async def test_silence_ends_with_the_timeout_and_the_connection(servers: Start) -> None:
    silence = asyncio.Event()

    async def silent(seen: Seen) -> bytes:
        await silence.wait()
        return reply()

    server, url = await servers(silent)
    clock = VirtualClock()
    transport = HttptoolsTransport(clock)
    call = asyncio.create_task(transport.request("GET", url, None, 3))
    await until(lambda: len(server.seen) == 1)
    await clock.advance(2.9)
    assert not call.done()
    await clock.advance(0.3)
    with pytest.raises(ExchangeTimeout) as caught:
        await call
    assert caught.value.sent
    assert transport.counts()["open"] == 0
    await transport.aclose()


async def test_cancelled_call_closes_its_connection(servers: Start) -> None:
    async def silent(seen: Seen) -> bytes:
        await asyncio.Event().wait()
        return b""

    server, url = await servers(silent)
    transport = HttptoolsTransport(SystemClock())
    call = asyncio.create_task(transport.request("GET", url, None, 30))
    await until(lambda: len(server.seen) == 1)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert transport.counts() == {"open": 0, "idle": 0, "opening": 0, "waiting": 0}
    await transport.aclose()


async def test_calls_over_the_address_limit_wait_in_line(servers: Start) -> None:
    server, url = await servers(ok)
    transport = HttptoolsTransport(SystemClock(), per_address=2)
    bodies = [b'{"n":%d}' % n for n in range(50)]
    answers = await asyncio.gather(*(transport.request("POST", url, body, 5) for body in bodies))
    assert [body for _, body in answers] == bodies
    assert server.connections == 2
    assert [seen.body for seen in server.seen] == bodies
    await transport.aclose()


async def test_call_that_gives_up_in_line_is_never_sent(servers: Start) -> None:
    release = asyncio.Event()

    async def held(seen: Seen) -> bytes:
        await release.wait()
        return reply()

    server, url = await servers(held)
    clock = VirtualClock()
    transport = HttptoolsTransport(clock, per_address=1)
    first = asyncio.create_task(transport.request("POST", url, b"1", 60))
    await until(lambda: len(server.seen) == 1)
    second = asyncio.create_task(transport.request("POST", url, b"2", 1))
    await clock.advance(2)
    with pytest.raises(ExchangeTimeout) as caught:
        await second
    assert not caught.value.sent
    release.set()
    await first
    assert [seen.body for seen in server.seen] == [b"1"]
    await transport.aclose()


async def test_at_the_total_limit_the_longest_idle_connection_makes_room(servers: Start) -> None:
    urls = [(await servers(ok))[1] for _ in range(4)]
    transport = HttptoolsTransport(SystemClock(), total=3)
    for url in (*urls, *urls):
        await transport.request("GET", url, None, 5)
    assert transport.counts()["open"] == 3
    await transport.aclose()


async def test_busy_address_does_not_starve_another_at_the_total_limit(servers: Start) -> None:
    order: list[str] = []

    async def busy(seen: Seen) -> bytes:
        order.append("busy")
        return reply()

    async def other(seen: Seen) -> bytes:
        order.append("other")
        return reply()

    _, busy_url = await servers(busy)
    _, other_url = await servers(other)
    transport = HttptoolsTransport(SystemClock(), total=1)
    calls = [transport.request("GET", busy_url, None, 5) for _ in range(5)]
    calls.append(transport.request("GET", other_url, None, 5))
    calls += [transport.request("GET", busy_url, None, 5) for _ in range(5)]
    await asyncio.gather(*calls)
    assert order == ["busy"] * 5 + ["other"] + ["busy"] * 5
    await transport.aclose()


async def test_idle_connections_are_closed_after_their_time(servers: Start) -> None:
    urls = [(await servers(ok))[1] for _ in range(2)]
    clock = VirtualClock()
    transport = HttptoolsTransport(clock, idle_seconds=50)
    await transport.request("GET", urls[0], None, 5)
    await clock.advance(30)
    await transport.request("GET", urls[1], None, 5)
    await clock.advance(25)
    assert transport.counts()["open"] == 1
    await clock.advance(30)
    assert transport.counts()["open"] == 0
    assert clock.pending() == 0
    await transport.aclose()


async def test_closing_fails_what_is_under_way_and_what_comes_later(servers: Start) -> None:
    async def silent(seen: Seen) -> bytes:
        await asyncio.Event().wait()
        return b""

    server, url = await servers(silent)
    transport = HttptoolsTransport(SystemClock(), per_address=1)
    calls = [asyncio.create_task(transport.request("GET", url, None, 30)) for _ in range(2)]
    await until(lambda: len(server.seen) == 1)
    await transport.aclose()
    await transport.aclose()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [AnswerLost, ConnectFailed]
    with pytest.raises(ConnectFailed, match="closed"):
        await transport.request("GET", url, None, 5)


async def test_tls_wants_the_machines_own_certificate_and_shows_its_own(servers: Start, tmp_path: Path) -> None:
    authority = await authority_in(tmp_path / "pki")
    files = {name: tmp_path / name for name in ("a", "b")}
    for name, path in files.items():
        credentials = await authority.issue_agent(name, name, ["127.0.0.1"])
        path.write_text(credentials.certificate + credentials.key)
    root = str(authority.certificate_path)
    accepting = peer_context(
        ssl.PROTOCOL_TLS_SERVER,
        root,
        str(files["a"]),
        str(files["a"]),
        lambda peer: None if peer.role is PeerRole.NODE else "is not a node",
    )
    _, url = await servers(ok, accepting)
    transport = HttptoolsTransport(SystemClock(), tls=authority.client_context())

    assert (await transport.request("GET", url, None, 5, machine="a"))[0] == 200
    for machine in ("b", None):
        with pytest.raises(ConnectFailed, match="agent a answers there") as caught:
            await transport.request("GET", url, None, 5, machine=machine)
        assert not caught.value.sent
    assert transport.counts() == {"open": 1, "idle": 1, "opening": 0, "waiting": 0}
    await transport.aclose()


async def test_a_certificate_that_is_not_valid_yet_is_told_with_the_clocks_that_differ(
    servers: Start, tmp_path: Path
) -> None:
    authority = await authority_in(tmp_path / "pki")
    ahead = await authority_in(tmp_path / "pki", clock=Ahead())
    credentials = await ahead.issue_agent("a", "a", [])
    (tmp_path / "a").write_text(credentials.certificate + credentials.key)
    pair = str(tmp_path / "a")
    accepting = peer_context(ssl.PROTOCOL_TLS_SERVER, str(authority.certificate_path), pair, pair, lambda peer: None)
    _, url = await servers(ok, accepting)
    transport = HttptoolsTransport(SystemClock(), tls=authority.client_context())

    with pytest.raises(ConnectFailed, match=r"not valid yet.*NTP"):
        await transport.request("GET", url, None, 5, machine="a")
    await transport.aclose()


class Ahead(SystemClock):
    """A clock that is a week ahead."""

    def now(self) -> datetime:
        return super().now() + timedelta(days=7)


@pytest.mark.parametrize("seed", range(3))
async def test_every_call_ends_and_nothing_is_left_whatever_servers_do(servers: Start, seed: int) -> None:
    chance = random.Random(seed)

    async def whatever(seen: Seen) -> bytes | None:
        for _ in range(chance.choice([1, 1, 10])):
            await asyncio.sleep(0)
        answer = reply(seen.body)
        return chance.choice([answer, answer, answer, None, answer + answer, answer[:-1], b"?", answer[:10]])

    urls = [(await servers(whatever))[1] for _ in range(4)]
    transport = HttptoolsTransport(SystemClock(), per_address=3, total=7)
    outcomes: list[str] = []

    async def call(number: int) -> None:
        body = b"%d" % number
        try:
            outcome = await transport.request("POST", chance.choice(urls), body, chance.choice([0.05, 0.5]))
            assert outcome == (200, body)
            outcomes.append("answered")
        except (AnswerLost, ConnectFailed, ExchangeTimeout) as error:
            outcomes.append(type(error).__name__)

    tasks = [asyncio.create_task(call(number)) for number in range(400)]
    await until(lambda: "answered" in outcomes)
    for task in chance.sample(tasks, 20):
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    surprises = [result for result in results if result and not isinstance(result, asyncio.CancelledError)]
    assert not surprises
    assert "answered" in outcomes
    await until(lambda: transport.counts()["opening"] == 0)
    counts = transport.counts()
    assert counts["open"] == counts["idle"] <= 7
    assert counts["waiting"] == 0
    await transport.aclose()


async def test_a_connection_serves_pings_a_minute_apart_and_is_opened_anew_after_a_while(servers: Start) -> None:
    server, url = await servers(ok)
    clock = VirtualClock()
    transport = HttptoolsTransport(clock)
    for _ in range(15):
        await transport.request("GET", url, None, 5)
        await clock.advance(60)
    first = {seen.connection for seen in server.seen}
    for _ in range(3):
        await transport.request("GET", url, None, 5)
        await clock.advance(60)

    assert len(first) == 1
    assert len({seen.connection for seen in server.seen}) == 2
    await transport.aclose()
