from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.unit.agents.fakes import until

from cairn.agents import files
from cairn.agents.blocking import in_thread
from cairn.agents.downloads import Downloader, settle
from cairn.agents.errors import AgentError
from cairn.agents.protocol import codes

DATA = bytes(range(256)) * 5000


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A server with a file, redirects, and other things."""

    async def file(_: web.Request) -> web.Response:
        return web.Response(body=DATA)

    async def chunked(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(DATA)
        return response

    async def redirect(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": request.query["to"]})

    app = web.Application()
    app.router.add_get("/file", file)
    app.router.add_get("/chunked", chunked)
    app.router.add_get("/redirect", redirect)
    server = TestServer(app)
    await server.start_server()
    yield str(server.make_url("")).rstrip("/")
    await server.close()


async def refused(downloader: Downloader, url: str, target: Path, max_bytes: int = 1 << 30) -> AgentError:
    with pytest.raises(AgentError) as caught:
        await downloader.fetch(url, target, max_bytes)
    assert not await in_thread(target.exists)
    return caught.value


@pytest.mark.parametrize("path", ["/file", "/chunked", "/redirect?to=/file"])
async def test_file_is_fetched_with_its_hash(url: str, tmp_path: Path, path: str) -> None:
    target = tmp_path / "new" / "x"
    assert await Downloader(None).fetch(url + path, target, len(DATA)) == hashlib.sha256(DATA).hexdigest()
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("path", ["/file", "/chunked"])
async def test_more_than_allowed_is_refused(url: str, tmp_path: Path, path: str) -> None:
    assert (await refused(Downloader(None), url + path, tmp_path / "x", len(DATA) - 1)).code == codes.IMAGE_TOO_LARGE


@pytest.mark.parametrize(
    "path",
    ["/none", "/redirect?to=file:///etc/passwd", "/redirect?to=/redirect?to=/redirect", "/redirect?to=ftp://x/y"],
)
async def test_what_cannot_be_fetched_is_told(url: str, tmp_path: Path, path: str) -> None:
    assert (await refused(Downloader(None), url + path, tmp_path / "x")).code == codes.DOWNLOAD_FAILED


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/x", "ftp://h/x", "no url", "", "http://", "file://host/etc/x"])
async def test_addresses_that_lead_nowhere_are_told(tmp_path: Path, address: str) -> None:
    assert (await refused(Downloader(None), address, tmp_path / "x")).code == codes.DOWNLOAD_FAILED


async def test_redirect_in_a_circle_is_given_up(url: str, tmp_path: Path) -> None:
    error = await refused(Downloader(None), f"{url}/redirect?to=/redirect%3Fto%3D/redirect", tmp_path / "x")
    assert error.code == codes.DOWNLOAD_FAILED


async def test_files_are_read_only_from_below_the_allowed_folders(tmp_path: Path) -> None:
    allowed = tmp_path / "images"
    allowed.mkdir()
    (allowed / "a b").write_bytes(DATA)
    (tmp_path / "secret").write_bytes(DATA)
    (allowed / "link").symlink_to(tmp_path / "secret")
    downloader = Downloader(None, [allowed])
    await downloader.fetch(f"file://{allowed}/a%20b", tmp_path / "x", 1 << 30)
    assert (tmp_path / "x").read_bytes() == DATA
    for path in (allowed / "link", tmp_path / "secret", allowed / ".." / "secret"):
        assert (await refused(downloader, f"file://{path}", tmp_path / "y")).code == codes.PATH_REFUSED
    assert (await refused(Downloader(None), f"file://{allowed}/a%20b", tmp_path / "y")).code == codes.PATH_REFUSED
    assert (await refused(downloader, f"file://{allowed}/none", tmp_path / "y")).code == codes.DOWNLOAD_FAILED


async def test_file_that_does_not_fit_is_refused_with_numbers(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cairn.agents.downloads.free_bytes", lambda _: 77)
    error = await refused(Downloader(None), f"{url}/file", tmp_path / "x")
    assert error.code == codes.NO_SPACE
    assert str(len(DATA)) in error.message
    assert "77 bytes are free" in error.message


async def test_finished_file_is_renamed_into_place(tmp_path: Path) -> None:
    target = tmp_path / "image"
    part = files.temporary_of(target)
    part.write_text("x")
    await settle(part, target)
    assert target.read_text() == "x"
    assert not part.exists()


@pytest.mark.parametrize("fails", [False, True])
async def test_cancelling_the_rename_is_too_late_once_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def fsync(_: int) -> None:
        begun.set()
        go_on.wait(10)
        if fails:
            raise OSError("the disk is gone")

    monkeypatch.setattr("cairn.agents.downloads.os.fsync", fsync)
    (tmp_path / "part").write_text("image")
    settling = asyncio.ensure_future(settle(tmp_path / "part", tmp_path / "image"))
    await until(begun.is_set)
    for _ in range(2):
        settling.cancel()
        await asyncio.sleep(0)
    assert not settling.done()
    go_on.set()
    await asyncio.wait({settling})
    assert settling.cancelled() is fails
    assert (tmp_path / "image").exists() is not fails
