from __future__ import annotations

import asyncio
import signal
import ssl
from pathlib import Path

import aiohttp
import pytest
from tests.unit.gateway.world import AS_ALICE, world

from cairn.agents.protocol.wire import Report
from cairn.gateway.agents import AgentCallbacks
from cairn.gateway.server import HttpServer
from cairn.kernel.clock import SystemClock
from cairn.kernel.deploy.authority import Authority
from cairn.kernel.error import CairnError


async def test_gateway_serves_several_addresses_and_leaves_signals_alone() -> None:
    cloud = await world(SystemClock())
    before = signal.getsignal(signal.SIGINT)

    addresses = await cloud.gateway.serve([("127.0.0.1", 0), ("127.0.0.2", 0)])
    try:
        assert signal.getsignal(signal.SIGINT) is before
        async with aiohttp.ClientSession(headers={"Authorization": AS_ALICE["authorization"]}) as client:
            for host, port in addresses:
                async with client.get(f"http://{host}:{port}/healthz") as answer:
                    assert await answer.json() == {"status": "ok"}
                    assert "server" not in answer.headers
            host, port = addresses[0]
            site = await cloud.site()
            async with client.post(
                f"http://{host}:{port}/v1/boxes",
                json={"params": {"name": "web", "siteUuid": site}},
                headers={"Prefer": "wait=10"},
            ) as answer:
                assert answer.status == 200
                assert (await answer.json())["inventory"]["name"] == "web"
    finally:
        await cloud.gateway.stop()
        await cloud.jobs.stop()
        await cloud.store.close()


async def test_stop_ends_open_streams_and_frees_the_address() -> None:
    cloud = await world(SystemClock())
    (host, port) = (await cloud.gateway.serve([("127.0.0.1", 0)]))[0]
    async with aiohttp.ClientSession() as client:
        async with client.get(f"http://{host}:{port}/v1/events", headers=AS_ALICE) as stream:
            assert stream.status == 200
            await stream.content.readline()

            await asyncio.wait_for(cloud.gateway.stop(), 4)
            assert (await stream.content.read()).strip() == b""
    await cloud.gateway.stop()

    listener = HttpServer(cloud.gateway)
    assert await listener.start([(host, port)]) == [(host, port)]
    await listener.stop()
    await cloud.store.close()


async def test_address_that_is_taken_is_named() -> None:
    cloud = await world(SystemClock())
    taken = await cloud.gateway.serve([("127.0.0.1", 0)])

    with pytest.raises(CairnError, match=rf"127\.0\.0\.1:{taken[0][1]}") as caught:
        await HttpServer(cloud.gateway).start([("127.0.0.1", 0), taken[0]])

    assert caught.value.code == "gateway.cannot-listen"
    await cloud.gateway.stop()
    await cloud.store.close()


async def test_agents_need_a_certificate_and_report_only_about_themselves(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path / "pki")
    host, other = "1" * 32, "a" * 32
    authority.issue_agent("host-1", host, ["127.0.0.1"])
    reports: list[Report] = []

    async def report(one: Report) -> None:
        reports.append(one)

    server = HttpServer(AgentCallbacks(lambda body, machine: True, report), authority.server_context())
    _, port = (await server.start([("127.0.0.1", 0)]))[0]
    url = f"https://127.0.0.1:{port}/agents/report"
    try:
        agent = ssl.create_default_context(cafile=str(tmp_path / "pki" / "ca.crt"))
        stranger = ssl.create_default_context(cafile=str(tmp_path / "pki" / "ca.crt"))
        agents = tmp_path / "pki" / "agents"
        agent.load_cert_chain(agents / f"{host}.crt", agents / f"{host}.key")
        async with aiohttp.ClientSession() as client:
            async with client.post(url, json={"host": host, "kind": "vm.state"}, ssl=agent) as answer:
                assert answer.status == 200
            async with client.post(url, json={"host": other, "kind": "vm.state"}, ssl=agent) as answer:
                assert answer.status == 403
                assert (await answer.json(content_type=None))["code"] == "agent.not-yours"
        async with aiohttp.ClientSession() as client:
            with pytest.raises((aiohttp.ClientError, OSError)):
                await client.post(url, json={"host": host, "kind": "vm.state"}, ssl=stranger)
    finally:
        await server.stop()
    assert [one.host for one in reports] == [host]
