from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.unit.agents.fakes import until

from cairn.agents import files
from cairn.agents.blocking import in_thread
from cairn.agents.downloads import Downloader, settle
from cairn.agents.errors import AgentError
from cairn.agents.protocol import codes
from cairn.agents.protocol.urls import DENIED_NETWORKS
from cairn.agents.reach import Reach

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

    async def echo(request: web.Request) -> web.Response:
        return web.Response(text=request.raw_path)

    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"x" * 10)
        assert request.transport is not None
        request.transport.close()
        return response

    app = web.Application()
    app.router.add_get("/file", file)
    app.router.add_get("/chunked", chunked)
    app.router.add_get("/redirect", redirect)
    app.router.add_get("/signed/{name}", echo)
    app.router.add_get("/half", half)
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


@pytest.fixture
def only_wide(monkeypatch: pytest.MonkeyPatch) -> Reach:
    """A reach in which the test's server has an address that is not denied, although it is on loopback."""
    monkeypatch.setattr("cairn.agents.reach._is_own", lambda _: False)
    return Reach([network for network in DENIED_NETWORKS if network != "127.0.0.0/8"] + ["127.0.0.2/32"])


@pytest.mark.parametrize(
    "to",
    [
        "http://127.0.0.2:9/latest/meta-data/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]:9/x",
        "http://[::ffff:169.254.169.254]/x",
        "http://0.0.0.0:9/x",
    ],
)
async def test_no_hop_leads_to_a_denied_address(url: str, tmp_path: Path, only_wide: Reach, to: str) -> None:
    await Downloader(None).fetch(f"{url}/file", tmp_path / "ok", 1 << 30, only_wide)
    for where in (to, f"{url}/redirect?to={quote(to, safe='')}"):
        with pytest.raises(AgentError) as caught:
            await Downloader(None).fetch(where, tmp_path / "x", 1 << 30, only_wide)
        assert caught.value.code == codes.DOWNLOAD_REFUSED, caught.value.message
        assert not (tmp_path / "x").exists()


async def test_name_is_judged_by_the_address_that_is_connected_to(url: str, tmp_path: Path) -> None:
    """The name may mean another address at each look-up: only the socket's counts."""
    where = url.replace("127.0.0.1", "localhost")
    with pytest.raises(AgentError) as caught:
        await Downloader(None).fetch(f"{where}/file", tmp_path / "x", 1 << 30, Reach(DENIED_NETWORKS))
    assert caught.value.code == codes.DOWNLOAD_REFUSED
    assert "127.0.0" in caught.value.message or "::1" in caught.value.message


async def test_server_on_the_machine_itself_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="is the backup server itself"):
        await Downloader(None).fetch(f"{url}/file", tmp_path / "x", 1 << 30, Reach([]))


async def test_proxy_is_not_asked_for_a_denied_address(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, only_wide: Reach
) -> None:
    monkeypatch.setattr("cairn.agents.downloads.getproxies", lambda: {"http": url})
    monkeypatch.setattr("cairn.agents.downloads.proxy_bypass", lambda _: False)
    await Downloader(None).fetch("http://nowhere.invalid/file", tmp_path / "x", 1 << 30, only_wide)
    with pytest.raises(AgentError) as caught:
        await Downloader(None).fetch("http://169.254.169.254/file", tmp_path / "x", 1 << 30, only_wide)
    assert caught.value.code == codes.DOWNLOAD_REFUSED


SIGNED = "/signed/a%27b.qcow2?X-Amz-Credential=AK%2F2026%2Fs3&name=a%3B%20b&sig=q%2BZ%3D&x=%c3%a4"


@pytest.mark.parametrize("path", [SIGNED, f"/redirect?to={quote(SIGNED, safe='')}"])
async def test_bytes_of_a_url_and_of_a_redirect_go_out_as_given(url: str, tmp_path: Path, path: str) -> None:
    await Downloader(None).fetch(url + path, tmp_path / "x", 1 << 30)
    assert (tmp_path / "x").read_text() == SIGNED


async def test_redirect_with_a_blank_is_followed(url: str, tmp_path: Path) -> None:
    await Downloader(None).fetch(f"{url}/redirect?to=/signed/a%20%C3%A4", tmp_path / "x", 1 << 30)
    assert (tmp_path / "x").read_text() == "/signed/a%20%C3%A4"


@pytest.mark.parametrize(
    "path",
    [
        "none?token=T0KEN",
        "redirect?to=ftp://u:T0KEN@x/y?T0KEN",
        "redirect?to=http://u:T0KEN@127.0.0.1:1/x",
        "half?T0KEN",
    ],
)
async def test_no_error_has_a_password_or_a_token(url: str, tmp_path: Path, path: str) -> None:
    where = url.replace("http://", "http://robot:s3cr3t-pw@")
    error = await refused(Downloader(None), f"{where}/{path}", tmp_path / "x")
    assert "s3cr3t" not in error.message
    assert "T0KEN" not in error.message
    assert "127.0.0.1" in error.message


@pytest.mark.parametrize("address", ["http://robot:s3cr3t@127.0.0.1:99999/x", "http://robot:s3cr3t@[::1/x", "s3cr3t"])
async def test_url_that_cannot_be_read_is_not_repeated(tmp_path: Path, address: str) -> None:
    error = await refused(Downloader(None), address, tmp_path / "x")
    assert "robot" not in error.message


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
