"""Metrics are for administrators, for whoever has the token, and for those who reach the addresses of their own."""

from __future__ import annotations

import pytest
from tests.unit.gateway.world import AS_ADMIN, AS_ALICE, World

from cairn.gateway.http import HttpRequest
from cairn.gateway.measures import MetricsPage, has_token
from cairn.gateway.server import HttpServer


@pytest.mark.parametrize(
    ("headers", "status"), [({}, 401), (AS_ALICE, 403), (AS_ADMIN, 200)], ids=["none", "alice", "admin"]
)
async def test_metrics_at_the_api_are_for_administrators(cloud: World, headers: dict[str, str], status: int) -> None:
    assert (await cloud.call("GET", "/metrics", None, headers)).status == status


async def test_metrics_at_the_api_are_for_the_token(cloud: World) -> None:
    cloud.gateway._metrics_token = "of prometheus"
    assert (await cloud.call("GET", "/metrics", None, {"authorization": "Bearer of prometheus"})).status == 200
    assert (await cloud.call("GET", "/metrics", None, {"authorization": "Bearer another"})).status == 401


@pytest.mark.parametrize(
    ("header", "token", "fits"),
    [
        ("Bearer abc", "abc", True),
        ("bearer  abc ", "abc", True),
        ("Bearer abcd", "abc", False),
        ("OAuth abc", "abc", False),
        ("Bearer ", "", False),
        ("", "", False),
        ("Bearer \xff", "abc", False),
    ],
)
def test_token_fits_whole_or_not_at_all(header: str, token: str, fits: bool) -> None:
    scope = {"method": "GET", "path": "/metrics", "headers": [(b"authorization", header.encode("latin-1"))]}
    assert has_token(HttpRequest(scope, None), token) is fits  # type: ignore[arg-type]


async def test_page_of_its_own_serves_nothing_else() -> None:
    import aiohttp

    server = HttpServer(MetricsPage(lambda: b"cairn_up 1\n"))
    ((host, port),) = await server.start([("127.0.0.1", 0)])
    try:
        async with aiohttp.ClientSession(f"http://{host}:{port}") as client:
            async with client.get("/metrics") as answer:
                assert (answer.status, await answer.read()) == (200, b"cairn_up 1\n")
            async with client.get("/v1/zones") as answer:
                assert answer.status == 404
            async with client.post("/metrics") as answer:
                assert answer.status == 404
    finally:
        await server.stop()
