"""Requests and answers, as the gateway's endpoints see them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl

import msgspec
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from cairn.gateway.problem import RETRY_AFTER, HttpError, problem, status_of
from cairn.gateway.proxies import Proxies
from cairn.gateway.waiting import Later
from cairn.kernel.error import CairnError, ErrorKind

JSON: Final = b"application/json"
PROBLEM: Final = b"application/problem+json"
#: of a query string: room for a list of 10,000 uuids, and more than for one
MOST_QUERY_BYTES: Final = 2**20
_TEXTS: Final = (JSON, b"text/json")


class HttpRequest:
    """One request.

    `variables` are the path's, in their order; `name` is the API's, once it is known; `from_admin`: an administrator sent
    it, as far as is known.
    """

    __slots__ = ("_query", "from_admin", "headers", "name", "path", "receive", "scope", "started", "variables", "verb")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.receive = receive
        self.verb: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.variables: tuple[str, ...] = ()
        self.name = ""
        self.from_admin = False
        self.started = 0.0  #: when it came, by the clock's monotonic()
        self._query: list[tuple[str, str]] | None = None

    def forget(self) -> None:
        """Keep no more of it than what an answer is counted and logged by."""
        self.scope, self.headers, self.receive, self._query = {}, {}, _nothing, None

    def header(self, name: bytes) -> str | None:
        """A header's text by its lower-case name."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1").strip()

    def address(self, proxies: Proxies) -> str | None:
        """The address that it came from; None where it came over no network."""
        client = self.scope.get("client")
        return proxies.client(str(client[0]), self.header(b"x-forwarded-for")) if client else None

    @property
    def query(self) -> list[tuple[str, str]]:
        """Names and values of the query string, in order.

        Raises:
            CairnError: ``api.malformed-query`` when it is not UTF-8, or has more than 1000 parts; ``api.too-long`` (414).
        """
        if self._query is None:
            raw: bytes = self.scope["query_string"]
            if len(raw) > MOST_QUERY_BYTES:
                raise HttpError(
                    "api.too-long",
                    f"The query string has {len(raw)} bytes; at most {MOST_QUERY_BYTES} fit. Ask in several queries.",
                    status=414,
                )
            try:
                text = raw.decode("ascii")
                self._query = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=1000)
            except ValueError as error:
                raise HttpError(
                    "api.malformed-query",
                    f"The query string cannot be read: {error}. Send name=value pairs, percent-encoded as UTF-8.",
                    status=400,
                ) from None
        return self._query

    async def body(self, limit: int) -> bytes:
        """The whole body.

        Args:
            limit: the most bytes that are taken.

        Raises:
            CairnError: ``api.too-large`` (413).
        """
        announced = self.headers.get(b"content-length", b"")
        if announced.isdigit() and int(announced) > limit:
            raise _too_large(limit)
        chunks: list[bytes] = []
        size = 0
        while True:
            event = await self.receive()
            if event["type"] == "http.disconnect":
                raise Disconnected
            chunk: bytes = event.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            if not event.get("more_body"):
                return b"".join((*chunks, chunk)) if chunks else chunk
            chunks.append(chunk)

    async def json(self, limit: int) -> object:
        """The body as JSON; None when there is none.

        Raises:
            CairnError: ``api.too-large`` (413), ``api.media-type`` (415), ``api.malformed-json`` (400).
        """
        body = await self.body(limit)
        if not body or body.isspace():
            return None
        media_type = self.headers.get(b"content-type", JSON).split(b";", 1)[0].strip().lower()
        if media_type not in _TEXTS and not media_type.endswith(b"+json"):
            found = media_type.decode("latin-1")
            raise HttpError(
                "api.media-type",
                f"The body is sent as {found!r}; send it as JSON, with the header Content-Type: application/json.",
                status=415,
            )
        try:
            decoded: object = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise HttpError("api.malformed-json", f"The body is not JSON: {error}.", status=400) from None
        except RecursionError:
            raise HttpError("api.malformed-json", "The body is nested too deeply.", status=400) from None
        return decoded


class Disconnected(Exception):
    """The client has gone, so no answer is needed."""


Endpoint = Callable[[HttpRequest], Awaitable[Response | Later]]


class Reply(Response):
    """An answer that is bytes already. Never kept by caches."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it (ASGI)."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})

    def __init__(
        self,
        body: bytes,
        status: int = 200,
        *,
        media_type: bytes = JSON,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        # Starlette works all headers out again for each response; on the hot path that is half the cost.
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = [
            (b"content-type", media_type),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]
        if headers:
            self.raw_headers += [
                (name.lower().encode("ascii"), value.encode("latin-1")) for name, value in headers.items()
            ]


def json_reply(content: object, status: int = 200, *, headers: Mapping[str, str] | None = None) -> Reply:
    """A response with `content` as JSON."""
    return Reply(msgspec.json.encode(content), status, headers=headers)


def problem_reply(
    error: CairnError, *, job: str | None = None, headers: Mapping[str, str] | None = None, to_admin: bool = False
) -> Reply:
    """An error as a response.

    Args:
        error: to be told.
        to_admin: whether an administrator reads it.
        job: the job that failed with it.
        headers: in addition to those that the error brings.
    """
    status = status_of(error)
    own = dict(error.headers) if isinstance(error, HttpError) else {}
    if RETRY_AFTER in error.details:
        own.setdefault("Retry-After", str(error.details[RETRY_AFTER]))
    body = msgspec.json.encode(problem(error.record(), status=status, job=job, to_admin=to_admin))
    return Reply(body, status, media_type=PROBLEM, headers={**own, **(headers or {})})


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def _too_large(limit: int) -> HttpError:
    return HttpError(
        "api.too-large",
        f"The body is larger than {limit} bytes. Send less, or have the operator raise CAIRN_MAX_BODY_BYTES.",
        status=413,
        kind=ErrorKind.INVALID,
    )
