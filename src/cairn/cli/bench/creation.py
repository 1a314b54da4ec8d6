"""Creates many VMs with a given number in flight, and learns of each one's end.

There are two ways:

* On as many connections as there are calls in flight, each call waits for its own end (``Prefer: wait``), as callers do: one
  request a VM, and the caller's own clock.
* On fewer connections than that, calls are answered 202 at once, and the ends are read off the list of jobs, ten times a second,
  from where the last look ended: some hundred bytes a VM instead of a connection, so that the node spends no time on being
  watched. A VM's time then runs from the caller's sending to the end that the node has written down, so both clocks have to
  agree; on one machine they do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from cairn.cli.bench.load import OPENED_AT_ONCE, code_of, sent, status_of_job, together
from cairn.cli.bench.wire import Connection, Origin
from cairn.cli.errors import Problem

_WAIT = "Prefer: wait=300\r\n"
_POLL_SECONDS = 0.1
#: Ends are written in groups; one whose time lies a little before the last one seen may become visible after it.
_OVERLAP = timedelta(seconds=0.2)
_QUIET_SECONDS = 10.0
_PAGE = 10_000


class Template(Struct, frozen=True, kw_only=True):
    """The fields that all VMs of a run have in common."""

    image: str
    network: str
    offering: str
    prefix: str  #: of their names


class Ended(Struct, frozen=True):
    """A VM's creation at its end."""

    vm: str
    seconds: float
    error: str | None  #: the code


class _Job(Struct, frozen=True, rename="camel"):
    uuid: str
    state: str
    finish_date: datetime | None = None
    error: Problem | None = None


class _Jobs(Struct, frozen=True):
    inventories: list[_Job]


class Creation:
    """One run of the benchmark.

    Args:
        origin: the node.
        template: of the VMs.
        count: how many.
        concurrency: how many are in flight at most.
        connections: on how many connections.
        new_id: a fresh uuid: of a VM, and of the job that makes it.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        origin: Origin,
        template: Template,
        count: int,
        concurrency: int,
        connections: int,
        new_id: Callable[[], str],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._origin = origin
        self._template = template
        self._concurrency = min(concurrency, count)
        self._connections = min(connections, self._concurrency)
        self._numbers: Iterator[int] = iter(range(count))
        self._new_id = new_id
        self._sleep = sleep
        self._room = asyncio.Semaphore(self._concurrency)
        self._opening = asyncio.Semaphore(OPENED_AT_ONCE)
        self._in_flight = 0
        self.largest_in_flight = 0
        self.broken = 0  #: connections that broke, and were made again
        #: job -> its VM, and when it was sent
        self._open: dict[str, tuple[str, float]] = {}
        self.ended: list[Ended] = []

    async def run(self) -> None:
        """Create them all; `ended` has them in the order of their ends."""
        workers = range(self._connections)
        if self._concurrency == self._connections:
            await together(self._waiting_worker(number) for number in workers)
            return
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(self._watch(), name="watch jobs")
            await asyncio.wait([group.create_task(self._sending_worker()) for _ in workers])
            while self._open:
                await self._sleep(_POLL_SECONDS / 4)
            watch.cancel()

    # -- each on a connection of its own ---------------------------------------------------------------------------------

    async def _waiting_worker(self, place: int) -> None:
        async with self._opening:
            connection = await self._origin.connect(place)
        for number in self._numbers:
            vm, job = self._new_id(), self._new_id()
            request = self._request(number, vm, job, _WAIT)
            started = time.perf_counter()
            self._began(1)
            connection, status, body = await sent(self._origin, connection, request, place, self._lost)
            while status == 202:  # it takes longer than a call may wait
                look = self._origin.request("GET", f"/v1/api-jobs/{job}?wait=300")
                connection, status, body = await sent(self._origin, connection, look, place, self._lost)
                status = status_of_job(status, body)
            self._began(-1)
            seconds = time.perf_counter() - started
            self.ended.append(Ended(vm, seconds, None if status == 200 else code_of(status, body)))
        connection.close()

    def _lost(self) -> None:
        self.broken += 1

    def _began(self, more: int) -> None:
        self._in_flight += more
        self.largest_in_flight = max(self.largest_in_flight, self._in_flight)

    # -- many on few connections -------------------------------------------------------------------------------------------------

    async def _sending_worker(self) -> None:
        connection = await self._origin.connect()
        for number in self._numbers:
            await self._room.acquire()
            vm, job = self._new_id(), self._new_id()
            request = self._request(number, vm, job, "")
            self._open[job] = (vm, time.time())
            self._began(1)
            connection, status, body = await sent(self._origin, connection, request)
            if status != 202:
                self._end(job, time.time(), code_of(status, body))
        connection.close()

    async def _watch(self) -> None:
        connection = await self._origin.connect()
        since = datetime.now(UTC) - _OVERLAP
        heard = time.monotonic()
        while True:
            before = len(self.ended)
            connection, since = await self._look(connection, since)
            if len(self.ended) > before:
                heard = time.monotonic()
            elif time.monotonic() - heard > _QUIET_SECONDS:
                # Nothing has ended for long: ask for the open jobs by name, in case an end was overlooked.
                connection = await self._look_at_each(connection)
                heard = time.monotonic()
            await self._sleep(_POLL_SECONDS)

    async def _look(self, connection: Connection, since: datetime) -> tuple[Connection, datetime]:
        query = [
            ("q", f"finishDate>={since.isoformat()}"),
            ("q", "api=CreateVmInstance"),
            ("sort", "+finishDate"),
            ("fields", "uuid,state,finishDate,error"),
            ("limit", str(_PAGE)),
        ]
        request = self._origin.request("GET", f"/v1/jobs?{urlencode(query)}")
        connection, status, body = await sent(self._origin, connection, request)
        if status != 200:
            raise ConnectionError(f"the list of jobs cannot be read: {code_of(status, body)}")
        latest = since
        for job in msgspec.json.decode(body, type=_Jobs).inventories:
            if job.finish_date is not None:
                latest = max(latest, job.finish_date - _OVERLAP)
                self._take(job)
        return connection, latest

    async def _look_at_each(self, connection: Connection) -> Connection:
        for uuid in list(self._open)[:_PAGE]:
            request = self._origin.request("GET", f"/v1/api-jobs/{uuid}")
            connection, status, body = await sent(self._origin, connection, request)
            if status == 200:
                self._take(msgspec.json.decode(body, type=_Job))
        return connection

    def _take(self, job: _Job) -> None:
        if job.uuid not in self._open or job.state in ("Waiting", "Running"):
            return
        error = None if job.state == "Succeeded" else (job.error.code if job.error else job.state)
        self._end(job.uuid, job.finish_date.timestamp() if job.finish_date else time.time(), error)

    def _end(self, job: str, finished: float, error: str | None) -> None:
        vm, began = self._open.pop(job)
        self._began(-1)
        self.ended.append(Ended(vm, max(finished - began, 0.0), error))
        self._room.release()

    def _request(self, number: int, vm: str, job: str, headers: str) -> bytes:
        template = self._template
        params = {
            "name": f"{template.prefix}-{number + 1:05}",
            "imageUuid": template.image,
            "l3NetworkUuids": [template.network],
            "instanceOfferingUuid": template.offering,
            "resourceUuid": vm,
        }
        return self._origin.request("POST", "/v1/vm-instances", {"params": params}, f"X-Job-UUID: {job}\r\n{headers}")
