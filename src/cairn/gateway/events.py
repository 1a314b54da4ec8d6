"""``GET /v1/events``: the cloud's events, as server-sent events.

Each event's id is its sequence number. A client that was cut off sends it back (``Last-Event-ID``, as browsers do by themselves,
or ``?after=``) and misses nothing. Without it the stream begins with the next event.

An account sees the events that are its own (`EventRow.account_uuid`), and none that are nobody's.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Final, cast

import msgspec
from msgspec import Meta, Struct
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from cairn.gateway.auth import Authenticator, Caller, admit, over
from cairn.gateway.http import HttpRequest
from cairn.gateway.problem import problem
from cairn.gateway.shape import Shape
from cairn.gateway.waiting import Stopping, Waiting
from cairn.kernel.api import Access
from cairn.kernel.error import CairnError, ErrorKind, invalid
from cairn.kernel.event import EventRow, Events
from cairn.kernel.store.store import Store

_HEARTBEAT: Final = b": nothing happened\n\n"
_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no", "x-content-type-options": "nosniff"}
_MOST_NAMES: Final = 100


class _From(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The query string of the stream."""

    after: Annotated[int, Meta(ge=0)] | None = None  #: begin behind this sequence number; 0: with the oldest kept
    names: list[
        Annotated[str, Meta(max_length=4096)]
    ] = []  #: only events with these, joined by commas or repeated; none: all


class EventView(Struct, frozen=True, kw_only=True, rename="camel"):
    """An event as the API shows it."""

    sequence: int
    name: str
    resource_uuid: str | None
    job_uuid: str | None
    account_uuid: str | None
    create_date: datetime
    content: dict[str, object]


class EventStreams:
    """Serves streams of events.

    A stream lives no longer than its session. Before each line, and at each heartbeat, the session is looked at again: when it
    has ended, or its account's rights have changed, the stream says so (an event ``closed``, with no id) and ends.
    """

    def __init__(self, events: Events, store: Store, authenticator: Authenticator, waiting: Waiting) -> None:
        self._events = events
        self._store = store
        self._authenticator = authenticator
        self._waiting = waiting
        self._from = Shape(_From, "Events")

    async def endpoint(self, request: HttpRequest) -> Response:
        """Open a stream. An admin sees all events, an account those that are its own.

        Raises:
            CairnError: ``event.too-many-streams``; ``api.too-many-names``; those of `admit`.
        """
        caller = cast("Caller", await admit(request, Access.ACCOUNT, self._authenticator, "Events"))
        query = request.query
        last = request.header(b"last-event-id")
        if last:
            query = [*((name, value) for name, value in query if name != "after"), ("after", last)]
        asked = self._from.of_query(query)
        names = _names(asked.names)
        after = asked.after if asked.after is not None else await self._store.read(self._events.last)
        leave = self._events.seats.take(caller.account_uuid, is_admin=caller.is_admin)
        return _Stream(self._lines(after, names, caller), leave)

    async def _lines(self, after: int, names: frozenset[str], caller: Caller) -> AsyncIterator[bytes]:
        yield b"retry: 2000\n\n"
        account = None if caller.is_admin else caller.account_uuid
        events = self._events.stream(after, names=names, account=account)
        stream = cast("AsyncGenerator[EventRow | None, None]", events)
        async with aclosing(stream):
            while True:
                try:
                    row = await self._waiting.on(_next(stream))
                except Stopping:
                    return  # the client comes back with the last id it has seen
                now = await self._authenticator.session(caller.session_uuid)
                if now != caller:
                    yield _closed(over() if now is None else _changed())
                    return
                yield _HEARTBEAT if row is None else _line(row)


class _Stream(StreamingResponse):
    """A stream that gives back its place when it ends, however it ends."""

    def __init__(self, lines: AsyncIterator[bytes], leave: Callable[[], None]) -> None:
        super().__init__(lines, media_type="text/event-stream", headers=_HEADERS)
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


async def _next(stream: AsyncIterator[EventRow | None]) -> EventRow | None:
    return await anext(stream)


def _names(asked: list[str]) -> frozenset[str]:
    names = frozenset(name for part in asked for name in (piece.strip() for piece in part.split(",")) if name)
    if len(names) > _MOST_NAMES:
        raise invalid("api.too-many-names", "names", f"{len(names)} names", f"at most {_MOST_NAMES} would fit")
    return names


def _changed() -> CairnError:
    return CairnError(
        "auth.rights-changed",
        "The rights of this account have changed. Open the stream again.",
        kind=ErrorKind.UNAUTHENTICATED,
    )


def _closed(error: CairnError) -> bytes:
    """The last words of a stream that its server ends. Without an id, so the client can take up again where it was."""
    return b"event: closed\ndata: %s\n\n" % msgspec.json.encode(problem(error.record()))


def _line(row: EventRow) -> bytes:
    shown = EventView(
        sequence=row.sequence,
        name=row.name,
        resource_uuid=row.resource_uuid,
        job_uuid=row.job_uuid,
        account_uuid=row.account_uuid,
        create_date=row.create_date,
        content=row.content,
    )
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (row.sequence, row.name.encode(), msgspec.json.encode(shown))
