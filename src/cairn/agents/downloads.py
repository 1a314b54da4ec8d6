"""Fetches files over HTTP, HTTPS or from an allowed folder: bounded, hashed, and never half there."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urljoin, urlsplit

import aiohttp

from cairn.agents.blocking import in_thread
from cairn.agents.errors import AgentError, is_no_space, no_space
from cairn.agents.files import free_bytes
from cairn.agents.protocol import codes

_CHUNK_BYTES = 1 << 20
_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
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

    async def fetch(self, url: str, target: Path, max_bytes: int) -> str:
        """Download `url` to `target` (which is replaced) and return its SHA-256 in hex.

        When it fails `target` is gone. Redirects are followed only to http and https.

        Raises:
            AgentError: ``agent.download-failed``, ``agent.image-too-large``, ``agent.no-space``,
                ``agent.path-refused`` (a file outside of the allowed folders).
        """
        bounds = _Bounds(target, max_bytes)
        try:
            await in_thread(target.parent.mkdir, parents=True, exist_ok=True)
            with target.open("wb") as file:
                return await self._copy(url, file, bounds)
        except BaseException as error:
            await in_thread(target.unlink, missing_ok=True)
            if isinstance(error, OSError) and is_no_space(error):
                raise no_space(target.parent, bounds.got, free_bytes(target.parent)) from error
            raise

    async def _copy(self, url: str, file: BinaryIO, bounds: _Bounds) -> str:
        digest = hashlib.sha256()
        async with self._open(url, bounds) as chunks:
            async for chunk in chunks:
                bounds.count(len(chunk))
                await in_thread(_write, file, digest, chunk)
        await in_thread(file.flush)
        return digest.hexdigest()

    @asynccontextmanager
    async def _open(self, url: str, bounds: _Bounds) -> AsyncIterator[AsyncIterator[bytes]]:
        match urlsplit(url).scheme:
            case "file":
                yield self._file_chunks(url, bounds)
            case "http" | "https":
                async with self._http_chunks(url, bounds) as chunks:
                    yield chunks
            case scheme:
                raise AgentError(
                    codes.DOWNLOAD_FAILED, f"{url}: {scheme or 'no'} scheme; http, https or file would fit."
                )

    async def _file_chunks(self, url: str, bounds: _Bounds) -> AsyncIterator[bytes]:
        path = await in_thread(Path(unquote(urlsplit(url).path)).resolve)
        if urlsplit(url).netloc not in ("", "localhost"):
            raise AgentError(codes.DOWNLOAD_FAILED, f"{url}: file URLs have no host; write file:///path.")
        if not any(folder in path.parents for folder in self._file_dirs):
            allowed = ", ".join(map(str, self._file_dirs)) or "none"
            raise AgentError(
                codes.PATH_REFUSED,
                f"{url}: files are read only from below the folders that this server allows ({allowed}). "
                "Put the file there, or serve it by http.",
            )
        if not path.is_file():
            raise AgentError(codes.DOWNLOAD_FAILED, f"{url}: there is no such file on the backup server's machine.")
        bounds.announce(path.stat().st_size)
        with path.open("rb") as file:
            while chunk := await in_thread(file.read, _CHUNK_BYTES):
                yield chunk

    @asynccontextmanager
    async def _http_chunks(self, url: str, bounds: _Bounds) -> AsyncIterator[AsyncIterator[bytes]]:
        async with aiohttp.ClientSession(
            timeout=_TIMEOUTS, auto_decompress=False, trust_env=self._tls is None
        ) as session:
            try:
                response = await self._follow(session, url)
                async with response:
                    if response.content_length is not None:
                        bounds.announce(response.content_length)
                    yield response.content.iter_chunked(_CHUNK_BYTES)
            except (aiohttp.ClientError, ValueError) as error:
                raise AgentError(
                    codes.DOWNLOAD_FAILED,
                    f"{url} could not be fetched: {_words(error)}. Check the URL and the network.",
                ) from error
            except TimeoutError:
                raise AgentError(codes.DOWNLOAD_FAILED, f"{url}: the server stopped answering. Try again.") from None

    async def _follow(self, session: aiohttp.ClientSession, url: str) -> aiohttp.ClientResponse:
        place = url
        for _ in range(_MAX_REDIRECTS + 1):
            response = await session.get(
                place,
                ssl=self._tls if self._tls is not None else True,
                allow_redirects=False,
                headers={"Accept-Encoding": "identity"},
            )
            if response.status == 200:
                return response
            response.close()
            if response.status not in _REDIRECTS or "Location" not in response.headers:
                raise AgentError(
                    codes.DOWNLOAD_FAILED,
                    f"{url}: the server answered {response.status} {response.reason}. Check the URL.",
                )
            place = urljoin(place, response.headers["Location"])
            if urlsplit(place).scheme not in ("http", "https"):
                raise AgentError(
                    codes.DOWNLOAD_FAILED, f"{url}: redirects to {place}, which is neither http nor https."
                )
        raise AgentError(codes.DOWNLOAD_FAILED, f"{url}: more than {_MAX_REDIRECTS} redirects.")


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
    return str(error) or type(error).__name__


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
