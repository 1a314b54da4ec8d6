"""``GET /v1/events``: the cloud's events, as server-sent events.

Each event's id is its sequence number. A client that was cut off sends it back (``Last-Event-ID``, as browsers do by themselves,
or ``?after=``) and misses nothing. Without it the stream begins with the next event.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Final, cast

import msgspec
from msgspec import Meta, Struct
from starlette.responses import Response, StreamingResponse

from cairn.gateway.auth import Authenticator, Caller, admit
from cairn.gateway.http import HttpRequest
from cairn.gateway.shape import Shape
from cairn.gateway.waiting import Stopping, Waiting
from cairn.kernel.api import Access
from cairn.kernel.event import EventRow, Events
from cairn.kernel.store.store import Store

_HEARTBEAT: Final = b": nothing happened\n\n"


class _From(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The query string of the stream."""

    after: Annotated[int, Meta(ge=0)] | None = None  #: begin behind this sequence number; 0: with the oldest kept
    names: list[str] = []  #: only events with these names, joined by commas or repeated; none: all


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
    """Serves streams of events."""

    def __init__(self, events: Events, store: Store, authenticator: Authenticator, waiting: Waiting) -> None:
        self._events = events
        self._store = store
        self._authenticator = authenticator
        self._waiting = waiting
        self._from = Shape(_From, "Events")

    async def endpoint(self, request: HttpRequest) -> Response:
        """Open a stream. An admin sees all events, an account those of its own calls."""
        caller = cast("Caller", await admit(request, Access.ACCOUNT, self._authenticator, "Events"))
        query = request.query
        last = request.header(b"last-event-id")
        if last:
            query = [*((name, value) for name, value in query if name != "after"), ("after", last)]
        asked = self._from.of_query(query)
        after = asked.after if asked.after is not None else await self._store.read(self._events.last)
        names = frozenset(name for part in asked.names for name in (piece.strip() for piece in part.split(",")) if name)
        return StreamingResponse(
            self._lines(after, names, caller),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no", "x-content-type-options": "nosniff"},
        )

    async def _lines(self, after: int, names: frozenset[str], caller: Caller) -> AsyncIterator[bytes]:
        yield b"retry: 2000\n\n"
        stream = cast("AsyncGenerator[EventRow | None, None]", self._events.stream(after, names=names))
        async with aclosing(stream):
            while True:
                try:
                    row = await self._waiting.on(_next(stream))
                except Stopping:
                    return  # the client comes back with the last id it has seen
                if row is None:
                    yield _HEARTBEAT
                elif caller.is_admin or row.account_uuid == caller.account_uuid:
                    yield _line(row)


async def _next(stream: AsyncIterator[EventRow | None]) -> EventRow | None:
    return await anext(stream)


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
