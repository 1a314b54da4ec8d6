from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from cairn.agents.errors import AgentError
from cairn.agents.kvm import metadata_server
from cairn.agents.kvm.metadata_server import MetadataServer, NamespaceSockets
from cairn.agents.protocol import codes
from cairn.agents.protocol.network import MetadataEntry

ME = "127.0.0.1"


def entry(ip: str = ME, **more: object) -> MetadataEntry:
    fields: dict[str, object] = {"ip": ip, "vm": "a" * 32, "hostname": "web", **more}
    return MetadataEntry(**fields)  # type: ignore[arg-type]


class Served:
    def __init__(self, root: Path) -> None:
        self.server = MetadataServer(root)
        self.url = ""

    async def start(self) -> None:
        listening = socket.create_server((ME, 0))
        self.url = f"http://{ME}:{listening.getsockname()[1]}"
        await self.server.start(listening)

    async def get(self, path: str) -> tuple[int, bytes]:
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as answer:
            return answer.status, await answer.read()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    served = Served(tmp_path / "empty")
    await served.start()
    yield served
    await served.server.stop()


async def test_a_guest_is_told_what_the_last_call_said(served: Served) -> None:
    assert (await served.get("/latest/meta-data/hostname"))[0] == 404
    await served.server.tell({ME: entry(user_data=b"\x1f\x8b\x00\xff"), "10.0.0.1": entry("10.0.0.1")})
    assert await served.get("/latest/meta-data/hostname") == (200, b"web")
    assert await served.get("/user-data") == (200, b"\x1f\x8b\x00\xff")
    await served.server.tell({ME: entry(hostname="db")})
    assert await served.get("/latest/meta-data/hostname") == (200, b"db")
    await served.server.tell({})
    assert (await served.get("/latest/meta-data/hostname"))[0] == 404


async def test_many_large_changes_go_in_pieces(served: Served) -> None:
    guests = {f"10.0.{n}.1": entry(f"10.0.{n}.1", user_data=bytes(65_536)) for n in range(40)}
    await served.server.tell({**guests, ME: entry()})
    assert await served.get("/latest/meta-data/hostname") == (200, b"web")


async def test_a_process_that_died_is_seen_and_another_can_be_started(served: Served) -> None:
    assert served.server.is_up
    process = served.server._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    assert not served.server.is_up
    with pytest.raises(AgentError) as caught:
        await served.server.tell({ME: entry()})
    assert caught.value.code == codes.COMMAND_FAILED
    await served.start()
    await served.server.tell({ME: entry()})
    assert await served.get("/latest/meta-data/hostname") == (200, b"web")


async def test_stopping_twice_is_success(served: Served) -> None:
    await served.server.stop()
    await served.server.stop()
    assert not served.server.is_up


async def test_a_socket_is_made_in_a_thread_that_entered_the_name_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net").touch()
    entered: list[str] = []
    made = socket.socket()
    monkeypatch.setattr(metadata_server, "_setns", lambda _: entered.append(threading.current_thread().name))
    monkeypatch.setattr(metadata_server, "_listening_socket", lambda: made)
    sockets = NamespaceSockets(tmp_path)
    assert await sockets.listen("net") is made
    assert sockets.namespace("net") == tmp_path / "net"
    assert entered == ["enter net"]
    made.close()


async def test_a_name_space_that_is_not_there_is_an_error_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await NamespaceSockets(tmp_path).listen("none")
