"""Calls that are made to a node, and followed to their ends, with a given number in flight.

Each call in flight has a connection of its own, as with real callers. A call that changes something carries the uuid of its job,
so it may be made again when its connection breaks, or when the node that has it is lost: it is done once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from typing import Final

import msgspec
from msgspec import Struct

from cairn.cli.bench.wire import Connection, Origin
from cairn.cli.errors import CliError, Problem

#: that are opened at the same time: the system keeps some thousand for the node to accept
OPENED_AT_ONCE = 512
#: before a call is made again whose connection broke: more may come at once than the system keeps for the node to accept
_PAUSES = (0.0, 0.2, 0.5, 1.0, 2.0, 4.0)
#: between two tries to reach a node that is gone
_AGAIN_SECONDS = 0.05
_WAIT_SECONDS = 300
_UNAVAILABLE = 503
#: the error of a call whose end is not known: no node has answered for as long as patience lasts
NO_ANSWER: Final = "bench.no-answer"
_REMOVERS = 16


class Call(Struct, frozen=True, kw_only=True):
    """One call."""

    kind: str  #: what it is, for people: ``create``
    verb: str
    target: str
    body: object = None
    subject: str = ""  #: what it is about: the uuid of a VM, a host
    job: str | None = None  #: the uuid of its job; None: it only reads


class Ended(Struct, frozen=True, kw_only=True):
    """A call at its end."""

    kind: str
    subject: str
    seconds: float
    error: str | None  #: the code
    job: str | None = None
    at: float = 0.0  #: when it ended, by time.monotonic()


class Load:
    """Makes calls, with so many in flight.

    Args:
        origin: the node.
        calls: the next one is taken when there is room for it.
        concurrency: how many are in flight at most.
        ended: called with each end, before the next call is taken.
        patience_seconds: how long a node may be away, or say that it cannot do it now. 0: as long as connections break now and
            then.
        accept_first: whether calls are answered when they are jobs, and their ends asked for; else each waits for its end.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        origin: Origin,
        calls: Iterable[Call],
        concurrency: int,
        *,
        ended: Callable[[Ended], None] = lambda one: None,
        patience_seconds: float = 0.0,
        accept_first: bool = False,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._origin = origin
        self._calls: Iterator[Call] = iter(calls)
        self._concurrency = concurrency
        self._tell = ended
        self._patience_seconds = patience_seconds
        self._accept_first = accept_first
        self._sleep = sleep
        self._opening = asyncio.Semaphore(OPENED_AT_ONCE)
        self._trying = asyncio.Lock()
        self._in_flight = 0
        self.largest_in_flight = 0
        self.broken = 0  #: connections that broke, and were made again
        self.again = 0  #: answers that it cannot be done now, after which the call was made again
        self._watched = 0
        self._reached: Callable[[], None] = lambda: None
        #: jobs that the node has acknowledged -> when, by time.monotonic()
        self.accepted: dict[str, float] = {}
        self.ended: list[Ended] = []

    def when_accepted(self, jobs: int, reached: Callable[[], None]) -> None:
        """Have `reached` called once, when the node has acknowledged so many jobs."""
        self._watched, self._reached = jobs, reached

    async def run(self) -> None:
        """Make all calls; `ended` has them in the order of their ends."""
        await together(self._worker(place) for place in range(self._concurrency))

    async def _worker(self, place: int) -> None:
        connection: Connection | None = None
        for call in self._calls:
            self._began(1)
            started = time.monotonic()
            try:
                if connection is None:
                    connection = await self._connect(place)
                connection, error = await self._follow(connection, call, place)
            except (ConnectionError, CliError):
                if not self._patience_seconds:
                    raise
                connection, error = None, NO_ANSWER
            now = time.monotonic()
            self._began(-1)
            one = Ended(kind=call.kind, subject=call.subject, seconds=now - started, error=error, job=call.job, at=now)
            self.ended.append(one)
            self._tell(one)
        if connection is not None:
            connection.close()

    async def _connect(self, place: int) -> Connection:
        async with self._opening:
            return await self._origin.connect(place)

    async def _follow(self, connection: Connection, call: Call, place: int) -> tuple[Connection, str | None]:
        """Make the call, and wait for its end. Returns the error's code."""
        headers = f"X-Job-UUID: {call.job}\r\n" if call.job is not None else ""
        if call.job is not None and not self._accept_first:
            headers += f"Prefer: wait={_WAIT_SECONDS}\r\n"
        request = self._origin.request(call.verb, call.target, call.body, headers)
        connection, status, body = await self._exchange(connection, request, place)
        if call.job is None:
            return connection, None if status == 200 else code_of(status, body)
        if status in (200, 202):
            self.accepted[call.job] = time.monotonic()
            if len(self.accepted) == self._watched:
                self._reached()
        while status == 202:  # it was accepted, or takes longer than a call may wait
            look = self._origin.request("GET", f"/v1/api-jobs/{call.job}?wait={_WAIT_SECONDS}")
            connection, status, body = await self._exchange(connection, look, place)
            status = status_of_job(status, body)
        return connection, None if status == 200 else code_of(status, body)

    async def _exchange(self, connection: Connection, request: bytes, place: int) -> tuple[Connection, int, bytes]:
        if not self._patience_seconds:
            return await sent(self._origin, connection, request, place, self._lost)
        until = time.monotonic() + self._patience_seconds
        while True:
            try:
                status, body = await connection.exchange(request)
                if status != _UNAVAILABLE or time.monotonic() > until:
                    return connection, status, body
                self.again += 1
                await self._sleep(_AGAIN_SECONDS)
            except ConnectionError:
                self._lost()
                if time.monotonic() > until:
                    raise
                connection = await self._connect_again(place, until)

    async def _connect_again(self, place: int, until: float) -> Connection:
        """Reach the node again. One tries, and the others wait for it: a thousand that try keep a node from starting."""
        async with self._trying:
            while True:
                try:
                    return await self._origin.connect(place)
                except CliError as error:
                    if time.monotonic() > until:
                        raise ConnectionResetError(error.problem.detail) from error
                await self._sleep(_AGAIN_SECONDS)

    def _lost(self) -> None:
        self.broken += 1

    def _began(self, more: int) -> None:
        self._in_flight += more
        self.largest_in_flight = max(self.largest_in_flight, self._in_flight)


async def sent(
    origin: Origin, connection: Connection, request: bytes, place: int = 0, lost: Callable[[], None] = lambda: None
) -> tuple[Connection, int, bytes]:
    """Send, on a new connection if this one was closed, some times; calls that change something carry their job's uuid."""
    for pause in _PAUSES:
        try:
            status, body = await connection.exchange(request)
        except ConnectionError:
            lost()
            await asyncio.sleep(pause)
            connection = await origin.connect(place)
        else:
            return connection, status, body
    status, body = await connection.exchange(request)
    return connection, status, body


async def remove(origin: Origin, vms: Iterable[str]) -> int:
    """Destroy and expunge these VMs. Returns how many could not be removed."""
    wanted = list(vms)
    left, numbers = 0, iter(wanted)

    async def worker() -> None:
        nonlocal left
        connection = await origin.connect()
        wait = f"Prefer: wait={_WAIT_SECONDS}\r\n"
        for vm in numbers:
            destroy = origin.request("DELETE", f"/v1/vm-instances/{vm}", headers=wait)
            expunge = origin.request("PUT", f"/v1/vm-instances/{vm}/actions", {"expungeVmInstance": {}}, wait)
            for request in (destroy, expunge):
                connection, status, _ = await sent(origin, connection, request)
                if status >= 300:
                    left += 1
                    break
        connection.close()

    await together(worker() for _ in range(min(_REMOVERS, len(wanted))))
    return left


async def together(workers: Iterable[Awaitable[None]]) -> None:
    """Await all of them at the same time."""
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(_run(worker))


async def _run(worker: Awaitable[None]) -> None:
    await worker


class _Job(Struct, frozen=True, rename="camel"):
    state: str = ""
    error: Problem | None = None


def status_of_job(status: int, body: bytes) -> int:
    """The status that a call would have had which waited for the end of this job; 202 if it has none yet."""
    if status != 200:
        return status
    state = msgspec.json.decode(body, type=_Job).state
    return {"Waiting": 202, "Running": 202, "Succeeded": 200}.get(state, 409)


def code_of(status: int, body: bytes) -> str:
    """The code of the error in an answer, be it a call's or a job's."""
    with suppress(msgspec.MsgspecError):
        error = msgspec.json.decode(body, type=_Job).error
        if error is not None and error.code:
            return error.code
    try:
        return msgspec.json.decode(body, type=Problem).code or f"http.{status}"
    except msgspec.MsgspecError:
        return f"http.{status}"


def times(ended: Iterable[Ended]) -> tuple[float | None, float | None, float | None]:
    """Median, 99th percentile and maximum of those that succeeded, in milliseconds; None when none did."""
    values = sorted(one.seconds * 1000 for one in ended if one.error is None)
    if not values:
        return None, None, None
    # The nearest rank: an observed value, even of few.
    p50, p99 = (values[max(0, -(-len(values) * percent // 100) - 1)] for percent in (50, 99))
    return round(p50, 3), round(p99, 3), round(values[-1], 3)
