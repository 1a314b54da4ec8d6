from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import web

from cairn.cli.bench.creation import Creation, Template
from cairn.cli.bench.wire import Origin

TEMPLATE = Template(image="i", network="n", offering="o", prefix="bench")


class Node:
    """Makes VMs at once; every `refuse`-th call is refused, every `fail`-th job fails, every `drop`-th connection breaks.

    `together`: calls are answered when so many are open. `late`: those that wait are told to ask later.
    """

    def __init__(self, *, refuse: int = 0, fail: int = 0, drop: int = 0, together: int = 0, late: bool = False) -> None:
        self._refuse = refuse
        self._fail = fail
        self._drop = drop
        self._together = together
        self._late = late
        self._all_there = asyncio.Event()
        self._open = 0
        self.most_open = 0
        self.peers: set[object] = set()
        self._numbers = itertools.count(1)
        self.jobs: list[dict[str, object]] = []
        self.vms: set[str] = set()
        self.looks = 0

    async def create(self, request: web.Request) -> web.Response:
        number = next(self._numbers)
        params = (await request.json())["params"]
        await self._gather(request)
        if self._drop and number % self._drop == 0:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        assert request.headers["Authorization"] == "OAuth session"
        if self._refuse and number % self._refuse == 0:
            return web.json_response({"code": "quota.exceeded"}, status=409)
        failed = bool(self._fail) and number % self._fail == 0
        if not failed:
            self.vms.add(params["resourceUuid"])
        job: dict[str, object] = {
            "uuid": request.headers["X-Job-UUID"],
            "state": "Failed" if failed else "Succeeded",
            "finishDate": datetime.now(UTC).isoformat(),
            "error": {"code": "host.none-fits"} if failed else None,
        }
        self.jobs.append(job)
        if "Prefer" in request.headers and not self._late:
            return web.json_response({"code": "host.none-fits"} if failed else {}, status=409 if failed else 200)
        return web.json_response({"uuid": job["uuid"]}, status=202)

    async def _gather(self, request: web.Request) -> None:
        assert request.transport is not None
        self.peers.add(request.transport.get_extra_info("peername"))
        self._open += 1
        self.most_open = max(self.most_open, self._open)
        if self._open >= self._together:
            self._all_there.set()
        await self._all_there.wait()
        self._open -= 1

    async def show(self, request: web.Request) -> web.Response:
        return web.json_response(next(job for job in self.jobs if job["uuid"] == request.match_info["uuid"]))

    async def look(self, request: web.Request) -> web.Response:
        self.looks += 1
        since = next(text for text in request.query.getall("q") if text.startswith("finishDate"))
        after = since.removeprefix("finishDate>=")
        return web.json_response({"inventories": [job for job in self.jobs if str(job["finishDate"]) >= after]})


@asynccontextmanager
async def _served(node: Node) -> AsyncIterator[Origin]:
    app = web.Application()
    app.router.add_post("/v1/vm-instances", node.create)
    app.router.add_get("/v1/jobs", node.look)
    app.router.add_get("/v1/api-jobs/{uuid}", node.show)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield Origin(f"http://127.0.0.1:{port}", "session")
    finally:
        await runner.cleanup()


def _creation(origin: Origin, count: int, concurrency: int, connections: int = 1000) -> Creation:
    ids = itertools.count()

    async def soon(_: float) -> None:
        await asyncio.sleep(0)

    return Creation(origin, TEMPLATE, count, concurrency, connections, lambda: f"{next(ids):032x}", soon)


@pytest.mark.parametrize(
    ("count", "concurrency", "connections"), [(1, 1, 1), (7, 3, 3), (300, 100, 64), (200, 200, 1000), (20, 30, 5)]
)
async def test_as_many_are_created_as_asked_for(count: int, concurrency: int, connections: int) -> None:
    node = Node()
    async with _served(node) as origin:
        creation = _creation(origin, count, concurrency, connections)
        await creation.run()
    assert {one.vm for one in creation.ended} == node.vms
    assert len(creation.ended) == count
    assert all(one.error is None and one.seconds >= 0 for one in creation.ended)
    assert (node.looks == 0) == (concurrency <= connections)


async def test_each_call_is_open_on_a_connection_of_its_own() -> None:
    node = Node(together=40)
    async with _served(node) as origin:
        creation = _creation(origin, 40, 40)
        await creation.run()
    assert node.most_open == creation.largest_in_flight == 40
    assert len(node.peers) == 40


async def test_a_call_that_takes_longer_than_it_may_wait_is_asked_for() -> None:
    node = Node(fail=2, late=True)
    async with _served(node) as origin:
        creation = _creation(origin, 4, 2)
        await creation.run()
    assert sorted(str(one.error) for one in creation.ended) == ["None", "None", "host.none-fits", "host.none-fits"]


async def test_a_call_whose_connection_broke_is_made_again_as_the_same_job() -> None:
    node = Node(drop=3)
    async with _served(node) as origin:
        creation = _creation(origin, 6, 2)
        await creation.run()
    assert [one.error for one in creation.ended] == [None] * 6
    assert len({job["uuid"] for job in node.jobs}) == 6
    assert creation.broken > 0


@pytest.mark.parametrize("connections", [5, 100])
async def test_failures_are_counted_by_their_code(connections: int) -> None:
    node = Node(refuse=10, fail=7)
    async with _served(node) as origin:
        creation = _creation(origin, 140, 100, connections)
        await creation.run()
    codes = [one.error for one in creation.ended]
    assert codes.count("quota.exceeded") == 14
    assert codes.count("host.none-fits") == 18
    assert codes.count(None) == len(node.vms)
