from __future__ import annotations

import asyncio
import hashlib
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from tests.unit.agents.fakes import FakeClock, FakePoster, settle, until

from cairn.agents.backup.images import BackupImages
from cairn.agents.commands import Registry
from cairn.agents.delivery import Delivery
from cairn.agents.downloads import Downloader
from cairn.agents.epochs import Epochs
from cairn.agents.errors import AgentError
from cairn.agents.files import Folders, PreparedFolders
from cairn.agents.programs import SubprocessRunner
from cairn.agents.protocol import codes
from cairn.agents.protocol.storage import DeleteFile, DownloadImage
from cairn.agents.protocol.wire import AgentCommand, Request
from cairn.agents.state import Record
from cairn.agents.storage import Storage
from cairn.agents.tasks import Task, TaskTable

needs_qemu = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-utils is not installed")


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        (folder / "in").mkdir()
        folders = Folders(Record(folder / "s.json", PreparedFolders), folder / "data")
        folders.prepare(str(self.store))
        self.images = BackupImages(folders, Downloader(None, [folder / "in"]), SubprocessRunner())
        clock = FakeClock()
        registry = Registry([self.images, Storage(folders)])
        self.tasks = TaskTable(registry, Delivery(FakePoster(), clock), clock, Epochs(folder / "epochs"))

    def submit(self, task: str, command: AgentCommand[Any]) -> Task:
        body = msgspec.Raw(msgspec.json.encode(command))
        return self.tasks.submit(Request(task=task, command=command.name, body=body))

    def files(self) -> list[str]:
        return sorted(path.name for path in self.store.rglob("*") if path.is_file())

    def download(self, name: str, image_format: str = "qcow2") -> DownloadImage:
        path = str(self.store / "images" / "x" / name)
        return DownloadImage(url=f"file://{self.folder}/in/{name}", path=path, format=image_format)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@needs_qemu
async def test_image_is_taken_in_with_its_hash_and_again(world: World) -> None:
    source = world.folder / "in" / "a.qcow2"
    await SubprocessRunner().run(["qemu-img", "create", "-q", "-f", "qcow2", str(source), "8M"])
    first = await world.images.download(world.download("a.qcow2"))
    assert first == await world.images.download(world.download("a.qcow2"))
    assert first.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert (first.path, first.virtual_size_bytes) == (world.download("a.qcow2").path, 8 << 20)


async def test_what_is_no_image_is_refused_and_nothing_is_left(world: World) -> None:
    (world.folder / "in" / "page").write_text("<!doctype html>")
    with pytest.raises(AgentError) as caught:
        await world.images.download(world.download("page"))
    assert caught.value.code == codes.NOT_AN_IMAGE
    assert list(world.store.rglob("x*")) == []


async def test_image_is_not_fetched_from_the_server_itself(world: World) -> None:
    command = msgspec.structs.replace(world.download("a.qcow2"), url="http://robot:s3cr3t@127.0.0.1:1/a.qcow2?t0ken")
    with pytest.raises(AgentError) as caught:
        await world.images.download(command)
    assert caught.value.code == codes.DOWNLOAD_REFUSED
    assert "s3cr3t" not in caught.value.message
    assert "t0ken" not in caught.value.message
    assert world.files() == []


async def test_iso_is_taken_in_as_one(world: World) -> None:
    (world.folder / "in" / "a.raw").write_bytes(b"\0" * 0x8001 + b"CD001" + b"\0" * (65536 - 0x8006))
    command = world.download("a.raw", "raw")
    assert (await world.images.download(msgspec.structs.replace(command, iso=True))).virtual_size_bytes == 65536
    with pytest.raises(AgentError) as caught:
        await world.images.download(command)
    assert caught.value.code == codes.WRONG_FORMAT


async def test_download_taken_back_leaves_nothing_and_nothing_comes_after_it(world: World) -> None:
    more = asyncio.Event()

    async def image(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"QFI")
        await more.wait()
        return response

    app = web.Application()
    app.router.add_get("/a.qcow2", image)
    async with TestServer(app) as server:
        command = msgspec.structs.replace(
            world.download("a.qcow2"), url=str(server.make_url("/a.qcow2")), allowed_networks=("127.0.0.1/32",)
        )
        download = world.submit("download", command)
        await until(lambda: world.files() == [".a.qcow2.part"])
        deletion = world.submit("delete", DeleteFile(path=command.path))
        await settle()
        assert deletion.reply is None, "who deletes the image waits for its download"

        await world.tasks.cancel("download", 60)
        assert download.over.is_set()
        assert download.reply is not None
        assert download.reply.error is not None
        assert download.reply.error.code == codes.CANCELLED
        assert world.files() == []
        await deletion.finished.wait()
        assert deletion.reply is not None
        assert deletion.reply.error is None
        more.set()
    assert world.files() == []


async def test_images_are_handed_out_by_relative_path_and_nothing_else_is(world: World) -> None:
    (world.store / "images").mkdir()
    (world.store / "images" / "a").write_bytes(b"image")
    (world.store / "images" / ".a.part").write_bytes(b"half")
    (world.folder / "secret").write_text("x")
    (world.store / "link").symlink_to(world.folder / "secret")
    app = web.Application()
    app.router.add_get("/v1/images/{path:.+}", world.images.hand_out)
    async with TestClient(TestServer(app)) as client:
        async with client.get("/v1/images/images/a") as response:
            assert (response.status, await response.read()) == (200, b"image")
        for path in (
            "images/none",
            "images/.a.part",
            "link",
            "images",
            "%2e%2e/secret",
            "..%2Fsecret",
            "%2Fetc/passwd",
        ):
            async with client.get(f"/v1/images/{path}") as response:
                assert response.status == 404, path
