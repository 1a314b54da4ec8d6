"""HTTP to a node: one kept connection of the standard library, because a command has to start fast."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from cairn.cli.errors import CliError, Exit, Problem, unreachable, usage

_CONNECT_SECONDS = 5.0


class Response(Struct, frozen=True):
    """An answer of the node."""

    status: int
    body: bytes
    location: str | None = None


class Http(Protocol):
    """Sends requests to a node."""

    url: str

    def request(
        self,
        verb: str,
        target: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_seconds: float = 60.0,
    ) -> Response:
        """Send, and return whatever status comes back.

        Raises:
            CliError: exit code 3 when there is no answer.
        """

    def lines(self, target: str, headers: Mapping[str, str]) -> Iterator[str]:
        """The lines of an endless answer, as they come; ends when the node closes it."""


class HttpClient:
    """`Http` on sockets.

    Args:
        url: of the node, without ``/v1``; ``http://`` is taken for granted.
        ca_file: certificates of authorities that are trusted with a node, besides those that the system trusts.
    """

    def __init__(self, url: str, ca_file: Path | None = None) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise usage(f"{url!r} is not the URL of a node; http://127.0.0.1:8080 would fit.", code="cli.bad-url")
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._prefix = parts.path.rstrip("/")
        self._host = parts.hostname
        self._port = parts.port
        self._tls = trust(ca_file) if parts.scheme == "https" else None
        self._kept: http.client.HTTPConnection | None = None

    def request(
        self,
        verb: str,
        target: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_seconds: float = 60.0,
    ) -> Response:
        """Send, and return whatever status comes back (see `Http`).

        A kept connection may have been closed by the node meanwhile; then the request is sent once more. That is safe:
        calls that change something carry their job's uuid, and the node knows them again.
        """
        again = self._kept is not None
        while True:
            connection = self._kept or self._connect()
            self._kept = None
            try:
                response = self._exchange(connection, verb, target, body, headers, timeout_seconds)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if not again or isinstance(error, TimeoutError):
                    raise self._lost(error, timeout_seconds) from error
                again = False
                continue
            self._kept = connection
            return response

    def lines(self, target: str, headers: Mapping[str, str]) -> Iterator[str]:
        """The lines of an endless answer (see `Http`)."""
        connection = self._connect()
        try:
            connection.request("GET", self._prefix + target, headers=dict(headers))
            answer = connection.getresponse()
            if answer.status != 200:
                raise CliError(Exit.REFUSED, problem_in(Response(answer.status, answer.read())))
            for line in answer:
                yield line.decode("utf-8", "replace").rstrip("\r\n")
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error, 0) from error
        finally:
            connection.close()

    def close(self) -> None:
        """Give the connection up. Safe to repeat."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _connect(self) -> http.client.HTTPConnection:
        connection = (
            http.client.HTTPSConnection(self._host, self._port, timeout=_CONNECT_SECONDS, context=self._tls)
            if self._tls
            else http.client.HTTPConnection(self._host, self._port, timeout=_CONNECT_SECONDS)
        )
        try:
            connection.connect()
        except OSError as error:
            raise unreachable(self.url, _reason(error)) from error
        connection.sock.settimeout(None)
        return connection

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        verb: str,
        target: str,
        body: bytes | None,
        headers: Mapping[str, str] | None,
        timeout_seconds: float,
    ) -> Response:
        if connection.sock is None:
            raise http.client.NotConnected
        connection.sock.settimeout(timeout_seconds)
        content = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(verb, self._prefix + target, body, {**content, **(headers or {})})
        answer = connection.getresponse()
        return Response(answer.status, answer.read(), answer.headers.get("Location"))

    def _lost(self, error: Exception, timeout_seconds: float) -> CliError:
        if isinstance(error, TimeoutError):
            return unreachable(self.url, f"there was no answer within {timeout_seconds:g} s")
        return unreachable(self.url, f"the connection broke ({_reason(error)})")


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """What a node's certificate has to fit: an authority of the system's, or one in `ca_file`.

    Raises:
        CliError: exit code 2 if the file has no certificates.
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise usage(
                f"The file {ca_file} has no certificates that can be read: {error}.", code="cli.bad-ca"
            ) from error
    return context


def problem_in(response: Response) -> Problem:
    """The error in an answer, even if it is not problem+json (something stands between here and the node)."""
    try:
        found = msgspec.json.decode(response.body, type=Problem)
    except msgspec.MsgspecError:
        said = response.body[:200].decode("utf-8", "replace").strip()
        found = Problem(
            title=f"HTTP {response.status}",
            detail=f"The node answered with status {response.status}: {said or 'nothing'}",
            code="cli.http",
        )
    return msgspec.structs.replace(found, status=response.status)


def _reason(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "no such name"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not to be trusted: {error.verify_message}. If it is of the cloud's own authority, name that "
            "one's certificate (pki/ca.crt of the node's data folder) with CAIRN_CA_FILE"
        )
    if isinstance(error, TimeoutError):
        return f"no connection within {_CONNECT_SECONDS:g} s"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
