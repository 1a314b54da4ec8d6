from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import web

from cairn.cli.bench.creation import Creation, Template, remove
from cairn.cli.bench.wire import Origin

TEMPLATE = Template(image="i", network="n", offering="o", prefix="bench")


class Node:
    """Makes VMs at once; every `refuse`-th call is refused, every `fail`-th job fails."""

    def __init__(self, *, refuse: int = 0, fail: int = 0) -> None:
        self._refuse = refuse
        self._fail = fail
        self._numbers = itertools.count(1)
        self.jobs: list[dict[str, object]] = []
        self.vms: set[str] = set()
        self.looks = 0

    async def create(self, request: web.Request) -> web.Response:
        number = next(self._numbers)
        params = (await request.json())["params"]
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
        if "Prefer" in request.headers:
            return web.json_response({"code": "host.none-fits"} if failed else {}, status=409 if failed else 200)
        return web.json_response({"uuid": job["uuid"]}, status=202)

    async def look(self, request: web.Request) -> web.Response:
        self.looks += 1
        since = next(text for text in request.query.getall("q") if text.startswith("finishDate"))
        after = since.removeprefix("finishDate>=")
        return web.json_response({"inventories": [job for job in self.jobs if str(job["finishDate"]) >= after]})

    async def remove(self, request: web.Request) -> web.Response:
        if request.method == "PUT":
            self.vms.discard(request.match_info["uuid"])
        return web.json_response({})


@asynccontextmanager
async def _served(node: Node) -> AsyncIterator[Origin]:
    app = web.Application()
    app.router.add_post("/v1/vm-instances", node.create)
    app.router.add_get("/v1/jobs", node.look)
    app.router.add_delete("/v1/vm-instances/{uuid}", node.remove)
    app.router.add_put("/v1/vm-instances/{uuid}/actions", node.remove)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield Origin(f"http://127.0.0.1:{port}", "session")
    finally:
        await runner.cleanup()


def _creation(origin: Origin, count: int, concurrency: int) -> Creation:
    ids = itertools.count()

    async def soon(_: float) -> None:
        await asyncio.sleep(0)

    return Creation(origin, TEMPLATE, count, concurrency, lambda: f"{next(ids):032x}", soon)


@pytest.mark.parametrize(("count", "concurrency"), [(1, 1), (7, 3), (300, 100), (200, 200)])
async def test_as_many_are_created_as_asked_for(count: int, concurrency: int) -> None:
    node = Node()
    async with _served(node) as origin:
        creation = _creation(origin, count, concurrency)
        await creation.run()
    assert {one.vm for one in creation.ended} == node.vms
    assert len(creation.ended) == count
    assert all(one.error is None and one.seconds >= 0 for one in creation.ended)
    assert (node.looks == 0) == (concurrency <= 64)


@pytest.mark.parametrize("concurrency", [5, 100])
async def test_failures_are_counted_by_their_code(concurrency: int) -> None:
    node = Node(refuse=10, fail=7)
    async with _served(node) as origin:
        creation = _creation(origin, 140, concurrency)
        await creation.run()
    codes = [one.error for one in creation.ended]
    assert codes.count("quota.exceeded") == 14
    assert codes.count("host.none-fits") == 18
    assert codes.count(None) == len(node.vms)


async def test_what_was_created_is_removed() -> None:
    node = Node()
    async with _served(node) as origin:
        creation = _creation(origin, 20, 5)
        await creation.run()
        assert await remove(origin, [one.vm for one in creation.ended]) == 0
    assert node.vms == set()
