from __future__ import annotations

import asyncio

import pytest

from cairn.cli.bench import wire
from cairn.cli.bench.wire import Origin
from cairn.cli.errors import CliError


def test_request_is_whole_and_carries_the_session() -> None:
    raw = Origin("http://node:8080/base/", "abc").request("POST", "/v1/x", {"a": 1}, "Prefer: wait=1\r\n")
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[:3] == [b"POST /base/v1/x HTTP/1.1", b"Host: node:8080", b"Authorization: OAuth abc"]
    assert b"Prefer: wait=1" in head
    assert b"Content-Length: 7" in head
    assert body == b'{"a":1}'


async def test_answers_in_pieces_are_put_together_and_the_connection_is_kept() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            for part in (b"HTTP/1.1 202 Accepted\r\nContent-", b"Length: 4\r\n\r\nab", b"cd"):
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    origin = Origin(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "s")
    connection = await origin.connect()
    request = origin.request("GET", "/")
    assert await connection.exchange(request) == (202, b"abcd")
    assert await connection.exchange(request) == (202, b"abcd")
    with pytest.raises(ConnectionError):
        await connection.exchange(request)
    with pytest.raises(ConnectionError):
        await connection.exchange(request)
    server.close()
    await server.wait_closed()


async def test_what_is_not_http_breaks_the_exchange() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    origin = Origin(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "s")
    connection = await origin.connect()
    with pytest.raises(ConnectionError, match="not HTTP"):
        await connection.exchange(origin.request("GET", "/"))
    connection.close()
    server.close()
    await server.wait_closed()


async def test_no_node_is_told_as_unreachable() -> None:
    with pytest.raises(CliError):
        await Origin("http://127.0.0.1:9", "s").connect()


async def test_many_connections_to_this_machine_come_from_several_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_PER_ADDRESS", 2)
    peers: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        peers.append(writer.get_extra_info("peername")[0])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    origin = Origin(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "s")
    for number in range(5):
        connection = await origin.connect(number)
        await connection.exchange(origin.request("GET", "/"))
        connection.close()
    assert peers == ["127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.2", "127.0.0.3"]
    server.close()
    await server.wait_closed()
