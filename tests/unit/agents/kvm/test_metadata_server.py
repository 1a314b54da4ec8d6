from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from cairn.agents.kvm import metadata_server
from cairn.agents.kvm.metadata_server import MetadataServer, NamespaceSockets
from cairn.agents.protocol.network import MetadataEntry


def entry(**more: object) -> MetadataEntry:
    fields: dict[str, object] = dict.fromkeys(MetadataEntry.__struct_fields__, "x")
    return MetadataEntry(**{**fields, "vm": "a" * 32, "hostname": "web", "ssh_keys": [], "user_data": None, **more})  # type: ignore[arg-type]


class Served:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.vm: MetadataEntry | None = entry()
        self.url = ""

    def find(self, address: str) -> MetadataEntry | None:
        self.asked.append(address)
        return self.vm

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as answer:
            return answer.status, await answer.text()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    served = Served()
    server = MetadataServer(served.find)
    listening = socket.create_server(("127.0.0.1", 0))
    served.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    await server.start(listening)
    yield served
    await server.stop()


async def test_a_vm_is_known_by_its_address_and_told_its_own(served: Served) -> None:
    assert await served.get("/latest/meta-data/hostname") == (200, "web")
    assert served.asked == ["127.0.0.1"]


async def test_what_there_is_not_is_not_found(served: Served) -> None:
    assert await served.get("/latest/user-data") == (404, "not found\n")
    assert (await served.get("/nonsense"))[0] == 404


async def test_nobody_else_is_told_anything(served: Served) -> None:
    served.vm = None
    assert (await served.get("/latest/meta-data/hostname"))[0] == 404


async def test_a_socket_is_made_in_a_thread_that_entered_the_name_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net").touch()
    entered: list[str] = []
    made = socket.socket()
    monkeypatch.setattr(metadata_server, "_setns", lambda _: entered.append(threading.current_thread().name))
    monkeypatch.setattr(metadata_server, "_listening_socket", lambda: made)
    assert await NamespaceSockets(tmp_path).listen("net") is made
    assert entered == ["enter net"]
    made.close()


async def test_a_name_space_that_is_not_there_is_an_error_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await NamespaceSockets(tmp_path).listen("none")
