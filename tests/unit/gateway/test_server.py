from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from msgspec import convert
from starlette.types import ASGIApp, Receive, Scope, Send
from tests.unit.gateway.world import AS_ALICE, world

from cairn.agents.protocol.wire import Report
from cairn.gateway.agents import AgentCallbacks
from cairn.gateway.door import Limits
from cairn.gateway.server import HttpServer
from cairn.kernel.clock import SystemClock
from cairn.kernel.error import CairnError
from cairn.testing.shared import authority_in


async def test_gateway_serves_several_addresses_and_leaves_signals_alone() -> None:
    cloud = await world(SystemClock())
    before = signal.getsignal(signal.SIGINT)

    addresses = await cloud.gateway.serve([("127.0.0.1", 0), ("127.0.0.2", 0)])
    try:
        assert signal.getsignal(signal.SIGINT) is before
        async with aiohttp.ClientSession(headers={"Authorization": AS_ALICE["authorization"]}) as client:
            for host, port in addresses:
                async with client.get(f"http://{host}:{port}/healthz") as answer:
                    assert await answer.json() == {"status": "ok"}
                    assert "server" not in answer.headers
            host, port = addresses[0]
            site = await cloud.site()
            async with client.post(
                f"http://{host}:{port}/v1/boxes",
                json={"params": {"name": "web", "siteUuid": site}},
                headers={"Prefer": "wait=10"},
            ) as answer:
                assert answer.status == 200
                assert (await answer.json())["inventory"]["name"] == "web"
    finally:
        await cloud.gateway.stop()
        await cloud.jobs.stop()
        await cloud.store.close()


async def test_stop_ends_open_streams_and_frees_the_address() -> None:
    cloud = await world(SystemClock())
    (host, port) = (await cloud.gateway.serve([("127.0.0.1", 0)]))[0]
    async with aiohttp.ClientSession() as client:
        async with client.get(f"http://{host}:{port}/v1/events", headers=AS_ALICE) as stream:
            assert stream.status == 200
            await stream.content.readline()

            await asyncio.wait_for(cloud.gateway.stop(), 4)
            assert (await stream.content.read()).strip() == b""
    await cloud.gateway.stop()

    listener = HttpServer(cloud.gateway)
    assert await listener.start([(host, port)]) == [(host, port)]
    await listener.stop()
    await cloud.store.close()


async def test_call_that_waits_for_its_job_has_no_task_and_is_answered_at_its_end() -> None:
    cloud = await world(SystemClock())
    (host, port) = (await cloud.gateway.serve([("127.0.0.1", 0)]))[0]
    box = await cloud.box()
    async with aiohttp.ClientSession(f"http://{host}:{port}", headers={**AS_ALICE, "Prefer": "wait=100"}) as client:
        call = asyncio.create_task(
            client.put(f"/v1/boxes/{box}/actions", json={"shakeBox": {}}, headers={"X-Job-UUID": "5" * 32})
        )
        await _until(lambda: len(cloud.gateway._waiting) == 1)
        poll = asyncio.create_task(client.get(f"/v1/api-jobs/{'5' * 32}?wait=100"))
        await _until(lambda: len(cloud.gateway._waiting) == 2)
        server = cloud.gateway._server
        assert server is not None
        await _until(lambda: not server._site.tasks)
        assert not call.done()

        cloud.shaken.set()

        async with asyncio.timeout(10):
            assert (await call).status == 200
            assert (await (await poll).json())["state"] == "Succeeded"
    assert len(cloud.gateway._waiting) == 0
    told = cloud.metrics.render().decode()
    assert 'cairn_http_seconds_count{api="ShakeBox",status="200"} 1.0' in told
    await cloud.gateway.stop()
    await cloud.jobs.stop()
    await cloud.store.close()


async def test_call_that_waits_is_answered_when_the_node_stops() -> None:
    cloud = await world(SystemClock())
    (host, port) = (await cloud.gateway.serve([("127.0.0.1", 0)]))[0]
    box = await cloud.box()
    async with aiohttp.ClientSession(f"http://{host}:{port}", headers={**AS_ALICE, "Prefer": "wait=100"}) as client:
        call = asyncio.create_task(client.put(f"/v1/boxes/{box}/actions", json={"shakeBox": {}}))
        await _until(lambda: len(cloud.gateway._waiting) == 1)

        async with asyncio.timeout(4):
            await cloud.gateway.stop()
            assert (await call).status == 202
    await cloud.jobs.stop()
    await cloud.store.close()


async def test_nothing_is_left_of_a_call_whose_client_has_gone() -> None:
    cloud = await world(SystemClock())
    (host, port) = (await cloud.gateway.serve([("127.0.0.1", 0)]))[0]
    box = await cloud.box()
    body = b'{"shakeBox":{}}'
    _, writer = await asyncio.open_connection(host, port)
    head = f"PUT /v1/boxes/{box}/actions HTTP/1.1\r\nHost: x\r\nAuthorization: {AS_ALICE['authorization']}\r\n"
    writer.write(f"{head}Prefer: wait=100\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    await _until(lambda: len(cloud.gateway._waiting) == 1)

    writer.close()

    await _until(lambda: len(cloud.gateway._waiting) == 0)
    assert cloud.jobs.counts() == (1, 0), "the job goes on"
    await cloud.gateway.stop()
    await cloud.jobs.stop()
    await cloud.store.close()


async def test_idle_server_has_nothing_to_wake_for() -> None:
    loop = asyncio.get_running_loop()
    before = len(loop._scheduled)  # type: ignore[attr-defined]
    async with _served():
        await asyncio.sleep(0)
        assert len(loop._scheduled) == before  # type: ignore[attr-defined]


async def test_server_that_parts_closes_each_connection_after_its_next_answer() -> None:
    async with _served() as (server, host, port):
        reader, writer = await asyncio.open_connection(host, port)
        for last in (False, True):
            if last:
                server.part()
                server.part()
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.count(b"connection: close") == (1 if last else 0)
            assert await reader.readexactly(2) == b"ok"
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()


async def test_address_that_is_taken_is_named() -> None:
    cloud = await world(SystemClock())
    taken = await cloud.gateway.serve([("127.0.0.1", 0)])

    with pytest.raises(CairnError, match=rf"127\.0\.0\.1:{taken[0][1]}") as caught:
        await HttpServer(cloud.gateway).start([("127.0.0.1", 0), taken[0]])

    assert caught.value.code == "gateway.cannot-listen"
    await cloud.gateway.stop()
    await cloud.store.close()


async def test_agents_need_a_certificate_and_report_only_about_themselves(tmp_path: Path) -> None:
    authority = await authority_in(tmp_path / "pki")
    host, other = "1" * 32, "a" * 32
    pair = await authority.issue_agent("host-1", host, ["127.0.0.1"])
    (tmp_path / "agent").write_text(pair.certificate + pair.key)
    reports: list[Report] = []

    async def report(one: Report) -> None:
        reports.append(one)

    server = HttpServer(AgentCallbacks(lambda body, machine: True, report), authority.server_context())
    _, port = (await server.start([("127.0.0.1", 0)]))[0]
    url = f"https://127.0.0.1:{port}/agents/report"
    try:
        agent = ssl.create_default_context(cafile=str(tmp_path / "pki" / "ca.crt"))
        stranger = ssl.create_default_context(cafile=str(tmp_path / "pki" / "ca.crt"))
        agent.load_cert_chain(tmp_path / "agent")
        async with aiohttp.ClientSession() as client:
            async with client.post(url, json={"host": host, "kind": "vm.state"}, ssl=agent) as answer:
                assert answer.status == 200
            async with client.post(url, json={"host": other, "kind": "vm.state"}, ssl=agent) as answer:
                assert answer.status == 403
                assert (await answer.json(content_type=None))["code"] == "agent.not-yours"
        async with aiohttp.ClientSession() as client:
            with pytest.raises((aiohttp.ClientError, OSError)):
                await client.post(url, json={"host": host, "kind": "vm.state"}, ssl=stranger)
    finally:
        await server.stop()
    assert [one.host for one in reports] == [host]


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body of what is posted; ``/late`` is answered when the test says so."""
    if scope["path"] == "/large":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        return
    if scope["method"] == "POST":
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            return
    if scope["path"] == "/late":
        await scope["state"]["go"].wait()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def _served(app: ASGIApp = _app, **limits: float) -> AsyncIterator[tuple[HttpServer, str, int]]:
    server = HttpServer(app, limits=convert(limits, Limits))
    ((host, port),) = await server.start([("127.0.0.1", 0)])
    try:
        yield server, host, port
    finally:
        await server.stop()


_HALVES = {
    "nothing at all": (b"", b""),
    "half a header": (b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", b" 408 "),
    "half a body": (b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12", b" 408 "),
    "half a chunk": (b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12", b" 408 "),
    "a body that nobody reads": (b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12", b"ok"),
    "half a second header": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT", b" 408 "),
}


@pytest.mark.parametrize("sent", _HALVES, ids=str)
async def test_half_a_request_is_not_waited_for_without_end(sent: str) -> None:
    given, answer = _HALVES[sent]
    async with _served(header_seconds=0.1, body_seconds=0.1) as (server, host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(given)
        told = await asyncio.wait_for(reader.read(), 10)  # to the end: the server closes
        assert answer in told
        writer.close()
        assert len(server.door) == 0


async def test_request_that_comes_slowly_but_in_time_is_answered() -> None:
    async with _served(header_seconds=30, body_seconds=30) as (_, host, port):
        reader, writer = await asyncio.open_connection(host, port)
        for byte in b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc":
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        assert (await reader.read()).endswith(b"ok")
        writer.close()


async def test_request_behind_one_that_is_at_work_is_not_held_against_the_client() -> None:
    go = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["go"] = go
        await _app(scope, receive, send)

    async with _served(app, header_seconds=0.05, body_seconds=0.05) as (_, host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /late HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nX-Half: ")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), 0.3)
        go.set()
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        writer.write(b"y\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"ok")
        writer.close()


async def test_endless_header_is_refused() -> None:
    async with _served(header_bytes=2000) as (_, host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET / HTTP/1.1\r\n" + b"X-Long: " + b"x" * 4000)
        assert b" 431 " in await asyncio.wait_for(reader.read(), 10)
        writer.close()


async def test_client_that_does_not_read_is_let_go() -> None:
    async with _served(write_seconds=0.1) as (server, host, port):
        _, writer = await asyncio.open_connection(host, port, limit=1)
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await writer.drain()
        async with asyncio.timeout(10):
            with pytest.raises(OSError):
                while True:
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0)
        assert len(server.door) == 0


async def test_idle_connections_make_room_and_those_at_work_stay() -> None:
    async with _served(connections=2, header_seconds=30) as (server, host, port):
        first, one = await asyncio.open_connection(host, port)
        one.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await first.readuntil(b"ok")
        second, two = await asyncio.open_connection(host, port)
        two.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Half: ")
        await _until(lambda: len(server.door) == 2)
        third, three = await asyncio.open_connection(host, port)
        assert await asyncio.wait_for(first.read(), 10) == b"", "it was idle"
        three.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Half: ")
        await _until(lambda: not server.door._idle)
        fourth, four = await asyncio.open_connection(host, port)
        assert b" 429 " in await asyncio.wait_for(fourth.read(), 10)
        three.write(b"y\r\n\r\n")
        assert (await third.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        for writer in (one, two, three, four):
            writer.close()
        assert second is not None


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 (what another task sees on a socket has no event)
            await asyncio.sleep(0)
