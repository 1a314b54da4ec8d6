"""A call that waits for its job takes little memory, however many of them are open.

What is counted is what Python holds: the connection, the request, the job and its place in all queues. Sockets are the system's.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc

from tests.unit.gateway.world import AS_ADMIN, World, world

from cairn.gateway.connection import Connection, Site
from cairn.gateway.door import Limits
from cairn.testing.clock import VirtualClock

#: of all calls of one node: 30,000 of them are to fit into a node of 500 MB, of which it takes 150 MB itself
MOST_BYTES = 5_000
#: of many to few
MOST_RATIO = 1.3
FEW, MANY = 200, 2_000


class Wire(asyncio.Transport):
    """What all connections write to."""

    answers = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.answers += bytes(data).startswith(b"HTTP/1.1 200 ")

    def is_closing(self) -> bool:
        return False


class Callers:
    """Many clients, each with a connection of its own."""

    def __init__(self, cloud: World, clock: VirtualClock, box: str) -> None:
        self.wire = Wire()
        self.connections: list[Connection] = []
        self._cloud = cloud
        self._clock = clock
        self._site = Site(cloud.gateway, Limits(), clock, scheme="http", peers=False)
        body = b'{"shakeBox": {"times": 3}}'
        head = (
            f"PUT /v1/boxes/{box}/actions HTTP/1.1\r\nHost: cloud\r\nAuthorization: {AS_ADMIN['authorization']}\r\n"
            f"Content-Type: application/json\r\nAccept: */*\r\nUser-Agent: benchmark\r\nPrefer: wait=300\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._request = head.encode() + body

    async def call(self, count: int) -> None:
        """So many more calls, each of which waits for its job."""
        for number in range(count):
            connection = Connection(self._site)
            connection.connection_made(self.wire)
            connection.data_received(self._request)
            self.connections.append(connection)
            if number % 50 == 0:
                await self._clock.settle()
        await self._clock.settle()
        assert len(self._cloud.gateway._waiting) == len(self.connections)

    async def bytes_of(self, count: int) -> float:
        """What each of so many more calls takes."""
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        await self.call(count)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        return (after - before) / count


async def test_open_call_takes_little_and_no_more_when_there_are_many() -> None:
    clock = VirtualClock()
    cloud = await world(clock)
    callers = Callers(cloud, clock, await cloud.box())
    await callers.call(50)  # all that is made once, and the jobs that run
    tracemalloc.start()
    try:
        few = await callers.bytes_of(FEW)
        many = await callers.bytes_of(MANY)
    finally:
        tracemalloc.stop()

    cloud.shaken.set()
    await clock.settle()

    assert few < MOST_BYTES
    assert many < MOST_BYTES
    assert many < few * MOST_RATIO
    assert callers.wire.answers == len(callers.connections)
    await cloud.gateway.stop()
    await cloud.jobs.stop()
    await cloud.store.close()
