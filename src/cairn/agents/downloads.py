"""Fetches files over HTTP, HTTPS or from an allowed folder: bounded, hashed, and never half there."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
import string
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.connector import AddrInfoType
from yarl import URL

from cairn.agents.blocking import in_thread
from cairn.agents.errors import AgentError, is_no_space, no_space
from cairn.agents.files import free_bytes
from cairn.agents.protocol import codes
from cairn.agents.protocol.urls import shown_url
from cairn.agents.reach import Reach

_CHUNK_BYTES = 1 << 20
_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
#: what a request's first line may have as it is; all else is written as %XX
_ASCII = string.ascii_letters + string.digits + string.punctuation
_TIMEOUTS = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)


class Downloader:
    """Fetches URLs.

    Args:
        tls: for the cloud's own servers (the agent's certificate); None for servers of the internet, which are
            checked against the machine's authorities.
        file_dirs: folders below which ``file://`` URLs may be read; empty: none.
    """

    def __init__(self, tls: ssl.SSLContext | None, file_dirs: list[Path] | None = None) -> None:
        self._tls = tls
        self._file_dirs = [folder.resolve() for folder in file_dirs or []]

    async def fetch(self, url: str, target: Path, max_bytes: int, reach: Reach | None = None) -> str:
        """Download `url` to `target` (which is replaced) and return its SHA-256 in hex.

        When it fails `target` is gone. The URL's bytes, and those of the places that it is redirected to, go out as they
        came. Redirects are followed only to http and https. What is said of a URL has no password of it, and no values of
        its query.

        Args:
            reach: where it may connect to, at each hop; None: anywhere, for the cloud's own servers.

        Raises:
            AgentError: ``agent.download-failed``, ``agent.download-refused`` (by `reach`), ``agent.image-too-large``,
                ``agent.no-space``, ``agent.path-refused`` (a file outside of the allowed folders).
        """
        bounds = _Bounds(target, max_bytes)
        try:
            await in_thread(target.parent.mkdir, parents=True, exist_ok=True)
            with target.open("wb") as file:
                return await self._copy(url, file, bounds, reach)
        except BaseException as error:
            await in_thread(target.unlink, missing_ok=True)
            if isinstance(error, OSError) and is_no_space(error):
                raise no_space(target.parent, bounds.got, free_bytes(target.parent)) from error
            raise

    async def _copy(self, url: str, file: BinaryIO, bounds: _Bounds, reach: Reach | None) -> str:
        digest = hashlib.sha256()
        async with self._open(url, bounds, reach) as chunks:
            async for chunk in chunks:
                bounds.count(len(chunk))
                await in_thread(_write, file, digest, chunk)
        await in_thread(file.flush)
        return digest.hexdigest()

    @asynccontextmanager
    async def _open(self, url: str, bounds: _Bounds, reach: Reach | None) -> AsyncIterator[AsyncIterator[bytes]]:
        match _scheme_of(url):
            case "file":
                yield self._file_chunks(url, bounds)
            case "http" | "https":
                async with self._http_chunks(url, bounds, reach) as chunks:
                    yield chunks
            case scheme:
                raise _failed(url, f"the scheme is {scheme or 'missing'}; http, https or file would fit")

    async def _file_chunks(self, url: str, bounds: _Bounds) -> AsyncIterator[bytes]:
        path = await in_thread(Path(unquote(urlsplit(url).path)).resolve)
        if urlsplit(url).netloc not in ("", "localhost"):
            raise _failed(url, "file URLs have no host; write file:///path")
        if not any(folder in path.parents for folder in self._file_dirs):
            allowed = ", ".join(map(str, self._file_dirs)) or "none"
            raise AgentError(
                codes.PATH_REFUSED,
                f"{shown_url(url)}: files are read only from below the folders that this server allows ({allowed}). "
                "Put the file there, or serve it by http.",
            )
        if not path.is_file():
            raise _failed(url, "there is no such file on the backup server's machine")
        bounds.announce(path.stat().st_size)
        with path.open("rb") as file:
            while chunk := await in_thread(file.read, _CHUNK_BYTES):
                yield chunk

    @asynccontextmanager
    async def _http_chunks(self, url: str, bounds: _Bounds, reach: Reach | None) -> AsyncIterator[AsyncIterator[bytes]]:
        guard = _Guard(reach)
        connector = aiohttp.TCPConnector(socket_factory=guard.socket)
        async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUTS, auto_decompress=False) as session:
            try:
                async with await self._follow(session, guard, url) as response:
                    if response.content_length is not None:
                        bounds.announce(response.content_length)
                    yield response.content.iter_chunked(_CHUNK_BYTES)
            except (aiohttp.ClientError, ValueError, _RefusedError) as error:
                if guard.refused is not None:
                    raise _not_reached(url, guard.refused) from None
                raise _failed(url, f"{_words(error)}. Check the URL and the network") from None
            except TimeoutError:
                raise _failed(url, "the server stopped answering. Try again") from None

    async def _follow(self, session: aiohttp.ClientSession, guard: _Guard, url: str) -> aiohttp.ClientResponse:
        place = url
        for _ in range(_MAX_REDIRECTS + 1):
            response = await self._get(session, guard, place)
            if response.status == 200:
                return response
            response.close()
            if response.status not in _REDIRECTS or "Location" not in response.headers:
                raise _failed(url, f"the server answered {response.status} {response.reason}. Check the URL")
            place = urljoin(place, response.headers["Location"])
            if urlsplit(place).scheme not in ("http", "https"):
                raise _failed(url, f"it redirects to {shown_url(place)}, which is neither http nor https")
        raise _failed(url, f"more than {_MAX_REDIRECTS} redirects")

    async def _get(self, session: aiohttp.ClientSession, guard: _Guard, place: str) -> aiohttp.ClientResponse:
        """Ask for one place. Its bytes are left alone, but for those that no request can have."""
        where = URL(quote(place, safe=_ASCII, errors="surrogateescape"), encoded=True)
        proxy = _proxy_of(where) if self._tls is None else None
        await guard.enter(where, proxy is not None)
        return await session.get(
            where,
            proxy=proxy,
            ssl=self._tls if self._tls is not None else True,
            allow_redirects=False,
            headers={"Accept-Encoding": "identity"},
        )


class _RefusedError(OSError):
    """An address that may not be connected to. To what makes connections it is an address that does not answer."""


class _Guard:
    """Makes the sockets of a download, and none to where it may not connect."""

    def __init__(self, reach: Reach | None) -> None:
        self._reach = reach
        self._proxied = False
        self.refused: str | None = None  #: why the last address was refused

    async def enter(self, where: URL, proxied: bool) -> None:
        """Begin a hop. Behind a proxy the address is looked up here too, if it can be: the proxy connects, and may not know."""
        self._proxied, self.refused = proxied, None
        if self._reach is None or not proxied:
            return
        try:
            found = await asyncio.get_running_loop().getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)
        except OSError:
            return
        for *_, address in found:
            self._judge(str(address[0]))

    def socket(self, info: AddrInfoType) -> socket.socket:
        """A socket for an address that may be connected to."""
        family, kind, protocol, _, address = info
        if not self._proxied:
            self._judge(str(address[0]))
        return socket.socket(family, kind, protocol)

    def _judge(self, address: str) -> None:
        self.refused = self._reach.why_not(address) if self._reach is not None else None
        if self.refused is not None:
            raise _RefusedError(self.refused)


def _scheme_of(url: str) -> str:
    try:
        return urlsplit(url).scheme
    except ValueError:
        raise _failed(url, "it is no URL that can be asked for") from None


def _proxy_of(where: URL) -> str | None:
    """The proxy that the machine's environment names for this URL."""
    proxies = getproxies()
    if where.host is None or where.scheme not in proxies or proxy_bypass(where.host):
        return None
    return proxies[where.scheme]


def _failed(url: str, why: str) -> AgentError:
    return AgentError(codes.DOWNLOAD_FAILED, f"{shown_url(url)} could not be fetched: {why}.")


def _not_reached(url: str, why: str) -> AgentError:
    return AgentError(
        codes.DOWNLOAD_REFUSED,
        f"{shown_url(url)} is not fetched: it leads to a place that images do not come from ({why}). Serve the image from "
        "another machine, or have an administrator allow that network (image.download.allowedNetworks).",
    )


class _Bounds:
    """Limits a download to what is allowed and to what fits on the disk."""

    def __init__(self, target: Path, max_bytes: int) -> None:
        self._target = target
        self._max = max_bytes
        self.got = 0  #: bytes so far

    def announce(self, size: int) -> None:
        """Take the size that the source announces."""
        if size > self._max:
            raise self._too_large(size)
        free = free_bytes(self._target.parent)
        if size > free:
            raise no_space(self._target.parent, size, free)

    def count(self, size: int) -> None:
        self.got += size
        if self.got > self._max:
            raise self._too_large(self.got)

    def _too_large(self, size: int) -> AgentError:
        return AgentError(codes.IMAGE_TOO_LARGE, f"The file has at least {size} bytes; up to {self._max} are allowed.")


def _write(file: BinaryIO, digest: hashlib._Hash, chunk: bytes) -> None:
    digest.update(chunk)
    file.write(chunk)


def _words(error: Exception) -> str:
    """What went wrong, without the URL, which some of the libraries' errors repeat."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"the server {error.host} has no certificate that this machine trusts"
        case aiohttp.ClientConnectorError():
            return f"{error.host}:{error.port} could not be connected to ({error.os_error.strerror or error.os_error})"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return "the server broke off before the file was whole"
        case aiohttp.InvalidURL() | ValueError():
            return "it is no URL that can be asked for"
        case _:
            return f"the server cannot be understood ({type(error).__name__})"


async def settle(path: Path, target: Path) -> None:
    """Rename the finished file `path` into place, durably. Cancelling it when that is done comes too late."""
    done = False

    def rename() -> None:
        nonlocal done
        with path.open("rb") as file:
            os.fsync(file.fileno())
        path.replace(target)
        done = True

    try:
        await in_thread(rename)
    except asyncio.CancelledError:
        if not done:
            raise
