from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from cryptography import x509
from tests.unit.agents.certificates import TestAuthority
from tests.unit.agents.fakes import FakeClock, FakePoster

from cairn.agents.commands import Registry, handles
from cairn.agents.config import TlsFiles
from cairn.agents.delivery import Delivery
from cairn.agents.epochs import Epochs
from cairn.agents.errors import AgentError
from cairn.agents.protocol import codes
from cairn.agents.protocol.storage import Capacity, GetCapacity
from cairn.agents.protocol.wire import MAX_REQUEST_BYTES, Pong, Request
from cairn.agents.server import Server
from cairn.agents.tasks import TaskTable
from cairn.agents.tls import machine_context, node_context, server_context

NODE, HOST_1, HOST_2 = "cairn:node/n1", "cairn:agent/h1", "cairn:agent/h2"


class Area:
    """The clock decides whether the work is done in time."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock

    @handles(GetCapacity)
    async def capacity(self, command: GetCapacity) -> Capacity:
        if command.path == "slow":
            await self.clock.sleep(1000)
        return Capacity(total_bytes=2, available_bytes=1)


class World:
    def __init__(self, clock: FakeClock, folder: Path, *, trusted: bool = True) -> None:
        self.clock = clock
        self.poster = FakePoster()
        self.healthy = True
        table = TaskTable(Registry([Area(clock)]), Delivery(self.poster, clock), clock, Epochs(folder / "epochs"))
        self.server = Server(table, self.ping, trusted=trusted)

    async def ping(self) -> Pong:
        if not self.healthy:
            raise AgentError(codes.HYPERVISOR_UNAVAILABLE, "libvirtd does not answer.")
        return Pong(host="h", version="1")


def body(task: str = "t", path: str = "/", callback: str | None = None) -> bytes:
    command = msgspec.Raw(msgspec.json.encode(GetCapacity(path=path)))
    return msgspec.json.encode(
        Request(task=task, command="storage.capacity", body=command, callback=callback, deadline_seconds=1e6)
    )


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[tuple[World, TestClient[web.Request, web.Application]]]:
    made = World(FakeClock(), tmp_path)
    async with TestClient(TestServer(made.server.app)) as client:
        yield made, client


Fixture = tuple[World, TestClient[web.Request, web.Application]]


async def test_quick_command_is_answered_at_once(world: Fixture) -> None:
    _, client = world
    async with client.post("/v1/commands", data=body()) as response:
        assert response.status == 200
        assert await response.json() == {
            "task": "t",
            "result": {"totalBytes": 2, "availableBytes": 1, "usedBytes": 0, "fileSystem": ""},
        }


async def test_slow_command_is_accepted_and_called_back_when_it_is_done(tmp_path: Path) -> None:
    made = World(FakeClock(), tmp_path)
    async with TestClient(TestServer(made.server.app)) as client:
        request = body(path="slow", callback="https://node/cb").replace(b'"waitSeconds":5.0', b'"waitSeconds":0')
        posted = asyncio.ensure_future(_answer(client.post("/v1/commands", data=request)))
        while not posted.done():
            await made.clock.advance(0)
        assert await posted == (202, {})
        assert await _answer(client.get("/v1/tasks/t")) == (202, {})
        await made.clock.advance(1000)
        assert [url for url, _ in made.poster.posted] == ["https://node/cb"]
        assert (await _answer(client.get("/v1/tasks/t")))[0] == 200


async def test_task_never_heard_of_is_404(world: Fixture) -> None:
    _, client = world
    assert await _answer(client.get("/v1/tasks/none")) == (404, {})


async def test_task_is_taken_back(tmp_path: Path) -> None:
    made = World(FakeClock(), tmp_path)
    async with TestClient(TestServer(made.server.app)) as client:
        assert await _answer(client.delete("/v1/tasks/none")) == (404, {})
        request = body(path="slow").replace(b'"waitSeconds":5.0', b'"waitSeconds":0')
        posted = asyncio.ensure_future(_answer(client.post("/v1/commands", data=request)))
        while not posted.done():
            await made.clock.advance(0)
        for _ in range(2):
            status, reply = await _answer(client.delete("/v1/tasks/t"))
            assert status == 200
            assert isinstance(reply, dict)
            assert reply["error"]["code"] == codes.CANCELLED
        assert await _answer(client.post("/v1/commands", data=request)) == (200, reply)
        status, reply = await _answer(client.post("/v1/commands", data=body("none")))
        assert isinstance(reply, dict)
        assert (status, reply["error"]["code"]) == (200, codes.CANCELLED)


async def _answer(call: AbstractAsyncContextManager[aiohttp.ClientResponse]) -> tuple[int, object]:
    async with call as response:
        return response.status, await response.json()


async def test_ping_without_hypervisor_is_503_and_not_an_empty_list_of_vms(world: Fixture) -> None:
    made, client = world
    made.healthy = False
    async with client.get("/v1/ping") as response:
        assert response.status == 503
        assert (await response.json())["error"]["code"] == codes.HYPERVISOR_UNAVAILABLE


@pytest.mark.parametrize("wrong", [b"", b"{}", b"[]", b'{"task":7}', body()[:-3]])
async def test_request_that_does_not_decode_is_400_to_no_task(world: Fixture, wrong: bytes) -> None:
    _, client = world
    async with client.post("/v1/commands", data=wrong) as response:
        assert response.status == 400
        answer = await response.json()
        assert (answer["task"], answer["error"]["code"]) == ("", codes.BAD_REQUEST)


async def test_too_long_request_is_413(world: Fixture) -> None:
    _, client = world
    async with client.post("/v1/commands", data=b" " * (MAX_REQUEST_BYTES + 1)) as response:
        assert response.status == 413


class Tls:
    """A server with TLS, and clients with all kinds of certificates."""

    def __init__(self, authority: TestAuthority, url: str, revoked: set[int]) -> None:
        self.authority = authority
        self.url = url
        self.revoked = revoked

    def shown_by(self, name: str, uri: str | None) -> ssl.SSLContext:
        """A client that shows such a certificate, and believes any server of the cloud."""
        return machine_context(self.authority.issue(name, uri), lambda serial: False)

    async def get(self, context: ssl.SSLContext, path: str, method: str = "GET") -> int:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, ssl=context) as response,
        ):
            return response.status


@pytest.fixture
async def tls(tmp_path: Path) -> AsyncIterator[Tls]:
    async def image(_: web.Request) -> web.Response:
        return web.Response(text="image")

    authority = TestAuthority(tmp_path / "pki")
    files, revoked = authority.issue("host1", HOST_1), set[int]()
    made = World(FakeClock(), tmp_path, trusted=False)
    made.server.app.router.add_get("/v1/images/x", image)
    runner = web.AppRunner(made.server.app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(files, lambda serial: serial in revoked))
    await site.start()
    yield Tls(authority, f"https://127.0.0.1:{runner.addresses[0][1]}", revoked)
    await runner.cleanup()


async def test_management_node_may_give_commands(tls: Tls) -> None:
    assert await tls.get(tls.shown_by("n1", NODE), "/v1/ping") == 200


@pytest.mark.parametrize("name", ["host2", "cairn-management-node"])
async def test_other_machines_may_fetch_images_but_not_give_commands_whatever_they_are_called(
    tls: Tls, name: str
) -> None:
    context = tls.shown_by(name, HOST_2)
    assert await tls.get(context, "/v1/images/x") == 200
    assert await tls.get(context, "/v1/ping") == 403
    assert await tls.get(context, "/v1/tasks/x") == 403
    assert await tls.get(context, "/v1/tasks/x", "DELETE") == 403


async def test_one_whose_certificate_says_not_who_it_is_gets_nothing(tls: Tls) -> None:
    for uri in (None, "cairn:king/1", "https://example.com"):
        with pytest.raises((aiohttp.ClientError, OSError)):
            await tls.get(tls.shown_by("cairn-management-node", uri), "/v1/images/x")


async def test_one_whose_certificate_was_revoked_gets_nothing_any_more(tls: Tls) -> None:
    files = tls.authority.issue("host2", HOST_2)
    context = machine_context(files, lambda serial: False)
    assert await tls.get(context, "/v1/images/x") == 200

    tls.revoked.add(serial_of(files))

    with pytest.raises((aiohttp.ClientError, OSError)):
        await tls.get(context, "/v1/images/x")


def serial_of(files: TlsFiles) -> int:
    return x509.load_pem_x509_certificate(Path(files.cert).read_bytes()).serial_number


async def test_an_agent_replies_to_nodes_only(tls: Tls) -> None:
    with pytest.raises((aiohttp.ClientError, OSError), match="not a management node"):
        await tls.get(node_context(tls.authority.issue("host2", HOST_2)), "/v1/images/x")


async def test_strangers_are_not_talked_to(tls: Tls, tmp_path: Path) -> None:
    nobody = ssl.create_default_context(cafile=tls.authority.issue("x").ca)
    stranger = TestAuthority(tmp_path / "other").issue("n1", NODE)
    evil = ssl.create_default_context(cafile=tls.authority.issue("x").ca)
    evil.load_cert_chain(stranger.cert, stranger.key)
    for context in (nobody, evil):
        with pytest.raises((aiohttp.ClientError, OSError)):
            await tls.get(context, "/v1/images/x")
