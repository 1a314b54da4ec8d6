from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from cairn.cli.bench.asking import OF_ACCOUNT, OF_ALL, Asking, Kind, Sample, deep, sample_of
from cairn.cli.bench.wire import Origin
from cairn.cli.errors import CliError

SAMPLES = [
    Sample(vm=f"v{n}", name=f"vm-00{n}", host=f"h{n}", cluster="c", network="n", address=f"10.0.0.{n}") for n in (1, 2)
]


class Node:
    """Answers queries; those with a count of what is called "bad" not."""

    def __init__(self) -> None:
        self.asked: list[dict[str, list[str]]] = []

    async def answer(self, request: web.Request) -> web.Response:
        query = {name: request.query.getall(name) for name in request.query}
        self.asked.append(query)
        if "bad" in str(query):
            return web.json_response({"code": "query.too-slow"}, status=504)
        if "count" in query:
            return web.json_response({"total": 7})
        return web.json_response({"inventories": [{"uuid": "v1"}, {"uuid": "v2"}]})


@asynccontextmanager
async def served(node: Node) -> AsyncIterator[Origin]:
    app = web.Application()
    app.router.add_get("/{path:.*}", node.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield Origin(f"http://127.0.0.1:{runner.addresses[0][1]}", "session")
    finally:
        await runner.cleanup()


async def test_a_kind_is_asked_so_often_with_one_value_after_the_other() -> None:
    node, cpu = Node(), itertools.count(1)
    kind = Kind(name="by name", path="/v1/vm-instances", ask=lambda one: (("q", f"name={one.name}"),))
    async with served(node) as origin:
        timed = await Asking(origin, SAMPLES, 5, 1, lambda: float(next(cpu))).run(kind)
    assert [one["q"] for one in node.asked] == [["name=vm-001"], ["name=vm-002"]] * 2 + [["name=vm-001"]]
    assert (timed.asked, timed.rows, timed.total, timed.failed) == (5, 2, None, {})
    assert timed.p50_ms <= timed.p99_ms <= timed.max_ms
    assert timed.node_cpu_ms == 200.0


async def test_refusals_are_counted_by_their_code() -> None:
    kind = Kind(name="bad", path="/v1/vm-instances", ask=lambda _: (("q", "name=bad"),))
    async with served(Node()) as origin:
        timed = await Asking(origin, SAMPLES, 3, 2, lambda: 0.0).run(kind)
    assert (timed.asked, timed.failed) == (3, {"query.too-slow": 3})


async def test_every_kind_can_be_asked() -> None:
    kinds = [*OF_ALL, *OF_ACCOUNT, *deep(10, "token")]
    node = Node()
    async with served(node) as origin:
        asking = Asking(origin, SAMPLES, 1, 1, lambda: 0.0)
        timed = [await asking.run(kind) for kind in kinds]
    assert len({one.name for one in timed}) == len(kinds)
    assert all((one.total == 7) == ("count" in query) for one, query in zip(timed, node.asked, strict=True))
    assert [query.get("start") or query.get("after") for query in node.asked[-2:]] == [["5"], ["token"]]


def test_a_sample_is_read_off_a_vm() -> None:
    vm: dict[str, object] = {
        "uuid": "v",
        "name": "web",
        "lastHostUuid": "h",
        "clusterUuid": "c",
        "vmNics": [{"l3NetworkUuid": "n", "ip": "10.0.0.1"}],
    }
    sample = sample_of(vm, lambda entity, uuid: f"{entity} {uuid}")
    assert (sample.host, sample.cluster, sample.network) == ("Host h", "Cluster c", "L3Network n")
    with pytest.raises(CliError):
        sample_of({**vm, "vmNics": []}, lambda entity, uuid: "")
