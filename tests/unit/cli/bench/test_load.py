from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from cairn.cli.bench.load import Call, Ended, Load, code_of, remove, status_of_job, times
from cairn.cli.bench.wire import Origin


class Node:
    """Has jobs. The first `drops` calls lose their connection, and the next `unavailable` are told that it cannot be now."""

    def __init__(self, *, drops: int = 0, unavailable: int = 0, looks: int = 1) -> None:
        self._drops = drops
        self._unavailable = unavailable
        self._looks = looks  #: at each job, before it has ended
        self.asked: list[str] = []
        self.waited: list[str | None] = []
        self.jobs: dict[str, int] = {}

    async def change(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path}")
        self.waited.append(request.headers.get("Prefer"))
        if self._drops > 0:
            self._drops -= 1
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if self._unavailable > 0:
            self._unavailable -= 1
            return web.json_response({"code": "bus.no-node"}, status=503)
        if request.path.endswith("bad"):
            return web.json_response({"code": "vm.wrong-state"}, status=409)
        job = request.headers.get("X-Job-UUID", "")
        self.jobs[job] = 0
        return web.json_response({}, status=200 if "Prefer" in request.headers else 202)

    async def look(self, request: web.Request) -> web.Response:
        job = request.match_info["uuid"]
        self.jobs[job] += 1
        state = "Running" if self.jobs[job] < self._looks else "Succeeded"
        return web.json_response({"uuid": job, "state": state})

    async def read(self, request: web.Request) -> web.Response:
        return web.json_response({"inventories": []})


@asynccontextmanager
async def served(node: Node) -> AsyncIterator[Origin]:
    app = web.Application()
    app.router.add_get("/v1/api-jobs/{uuid}", node.look)
    app.router.add_get("/v1/things", node.read)
    for method in ("POST", "PUT", "DELETE"):
        app.router.add_route(method, "/v1/{path:.*}", node.change)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield Origin(f"http://127.0.0.1:{runner.addresses[0][1]}", "session")
    finally:
        await runner.cleanup()


async def soon(_: float) -> None:
    await asyncio.sleep(0)


def calls(count: int, target: str = "/v1/things") -> list[Call]:
    ids = itertools.count()
    return [
        Call(kind="make", verb="POST", target=target, body={}, subject=str(n), job=f"{next(ids):032x}")
        for n in range(count)
    ]


async def test_each_call_waits_for_its_end_and_is_told() -> None:
    node, told = Node(), list[Ended]()
    async with served(node) as origin:
        load = Load(origin, calls(20), 6, ended=told.append)
        await load.run()

    assert told == load.ended
    assert sorted(int(one.subject) for one in load.ended) == list(range(20))
    assert all(one.error is None and one.kind == "make" for one in load.ended)
    assert load.largest_in_flight == 6
    assert set(node.waited) == {"wait=300"}


async def test_jobs_are_accepted_first_and_followed_then() -> None:
    node = Node(looks=3)
    async with served(node) as origin:
        load = Load(origin, calls(2), 2, accept_first=True)
        await load.run()

    assert set(node.waited) == {None}
    assert set(node.jobs.values()) == {3}
    assert load.accepted.keys() == node.jobs.keys()
    assert [one.error for one in load.ended] == [None, None]


async def test_a_refusal_is_told_by_its_code() -> None:
    async with served(Node()) as origin:
        load = Load(origin, calls(1, "/v1/bad"), 1)
        await load.run()

    assert [one.error for one in load.ended] == ["vm.wrong-state"]
    assert not load.accepted


async def test_a_call_that_only_reads_has_no_job() -> None:
    async with served(Node()) as origin:
        reads = [Call(kind="query", verb="GET", target=target) for target in ("/v1/things", "/v1/none")]
        load = Load(origin, reads, 1)
        await load.run()

    assert [one.error for one in load.ended] == [None, "http.405"]


async def test_with_patience_a_call_is_made_until_a_node_does_it() -> None:
    node = Node(drops=2, unavailable=3)
    async with served(node) as origin:
        load = Load(origin, calls(1), 1, patience_seconds=60.0, sleep=soon)
        await load.run()

    assert [one.error for one in load.ended] == [None]
    assert (load.broken, load.again) == (2, 3)
    assert len(node.jobs) == 1


async def test_a_node_that_stays_away_is_an_end_too() -> None:
    node = Node(drops=1000)
    async with served(node) as origin:
        load = Load(origin, calls(2), 2, patience_seconds=0.001, sleep=asyncio.sleep)
        await load.run()

    assert [one.error for one in load.ended] == ["bench.no-answer", "bench.no-answer"]


async def test_vms_are_destroyed_and_expunged() -> None:
    node = Node()
    async with served(node) as origin:
        assert await remove(origin, ["a", "bad"]) == 1

    assert sorted(node.asked) == [
        "DELETE /v1/vm-instances/a",
        "DELETE /v1/vm-instances/bad",
        "PUT /v1/vm-instances/a/actions",
    ]


def test_a_job_has_the_status_that_its_call_would_have_had() -> None:
    states = ("Waiting", "Running", "Succeeded", "Failed")
    assert [status_of_job(200, b'{"state": "%s"}' % state.encode()) for state in states] == [202, 202, 200, 409]
    assert status_of_job(404, b"") == 404


def test_the_code_is_a_jobs_a_problems_or_the_status() -> None:
    assert code_of(409, b'{"state": "Failed", "error": {"code": "host.none-fits"}}') == "host.none-fits"
    assert code_of(409, b'{"code": "quota.exceeded"}') == "quota.exceeded"
    assert code_of(502, b"<html>") == "http.502"


def test_percentiles_are_values_that_were_seen() -> None:
    ended = [Ended(kind="k", subject="s", seconds=n / 1000, error=None) for n in range(1, 101)]
    bad = Ended(kind="k", subject="s", seconds=99.0, error="x.y")
    assert times([*ended, bad]) == (50.0, 99.0, 100.0)
    assert times(ended[:1]) == (1.0, 1.0, 1.0)
    assert times([bad]) == (None, None, None)
