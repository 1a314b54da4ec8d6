"""What accepting a creation costs: CPU per POST, with jobs that are only counted.

    .venv/bin/python tools/bench_gateway.py            # the ASGI app alone, and behind the HTTP server on loopback

The client of the second figure is a bare socket loop in a process of its own, so the figure is the server's CPU alone.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import socket
import sys
import time
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.unit.gateway.world import AS_ALICE, World, world

from cairn.kernel.clock import SystemClock

CALLS = 19_200
CONNECTIONS = 64


def cpu_seconds() -> float:
    """User and system time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def accept(*_: object, **__: object) -> bool:
    """A job desk that takes everything."""
    return True


async def no_references(*_: object) -> list[object]:
    """References without the store."""
    return []


async def prepared() -> tuple[World, bytes]:
    """A gateway whose jobs and references cost nothing, and a body of ordinary size."""
    cloud = await world(SystemClock())
    cloud.jobs.submit = accept  # type: ignore[method-assign]
    cloud.gateway._references.missing = no_references  # type: ignore[method-assign, assignment]
    site = "a" * 32
    body = (
        b'{"params":{"name":"web-1","siteUuid":"%s","color":"Blue","height":3,"near":["%s","%s"],'
        b'"labels":[{"textValue":"a","size":5}],"userTags":["web","production"]},'
        b'"systemTags":["place::here"]}'
    ) % (site.encode(), site.encode(), site.encode())
    return cloud, body


async def alone() -> float:
    """Microseconds of CPU per call of the app, without HTTP."""
    cloud, body = await prepared()
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/boxes",
        "query_string": b"",
        "headers": [(b"authorization", AS_ALICE["authorization"].encode()), (b"content-type", b"application/json")],
    }

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body}

    async def send(message: object) -> None:
        pass

    started = cpu_seconds()
    for _ in range(CALLS):
        await cloud.gateway(dict(scope), receive, send)
    return (cpu_seconds() - started) / CALLS * 1e6


def load(port: int, body: bytes, calls: int) -> None:
    """Send `calls` requests over keep-alive connections, one at a time on each."""
    head = (
        f"POST /v1/boxes HTTP/1.1\r\nhost: x\r\nauthorization: {AS_ALICE['authorization']}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode()
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    for _ in range(calls // CONNECTIONS):
        for connection in connections:
            connection.sendall(head + body)
        for connection in connections:
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 202"), answer


async def served() -> tuple[float, float]:
    """Microseconds of CPU per request behind the HTTP server, and requests per second."""
    cloud, body = await prepared()
    _, port = (await cloud.gateway.serve([("127.0.0.1", 0)]))[0]
    client = multiprocessing.get_context("fork").Process(target=load, args=(port, body, CALLS))
    started, clock = cpu_seconds(), time.perf_counter()
    client.start()
    await asyncio.to_thread(client.join)
    spent, seconds = cpu_seconds() - started, time.perf_counter() - clock
    await cloud.gateway.stop()
    assert client.exitcode == 0
    return spent / CALLS * 1e6, CALLS / seconds


def main() -> None:
    """Print both figures."""
    print(f"app alone:      {uvloop.run(alone()):6.1f} us of CPU per POST")
    spent, rate = uvloop.run(served())
    print(f"over HTTP:      {spent:6.1f} us of CPU per POST, {rate:,.0f} a second")


if __name__ == "__main__":
    main()
