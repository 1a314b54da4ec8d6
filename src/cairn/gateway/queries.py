"""Queries over HTTP: every entity has a collection.

``GET /v1/zones?q=name~=a%25&limit=10`` and ``GET /v1/zones/{uuid}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, cast

import msgspec
from msgspec import Meta, Struct
from starlette.responses import Response

from cairn.gateway.auth import Authenticator, Caller, admit
from cairn.gateway.http import Endpoint, HttpRequest, Reply
from cairn.gateway.shape import Shape
from cairn.kernel.api import Access, command_name
from cairn.kernel.error import not_found
from cairn.kernel.query.cursor import LONGEST
from cairn.kernel.query.engine import DEFAULT_LIMIT, MAX_LIMIT, MAX_START, QueryEngine, QueryRequest
from cairn.kernel.query.inventory import Inventory
from cairn.kernel.store.record import RecordInfo, Visible

_UNCOUNTABLE: Final = ("storage", "software", "hardware")
_SIBILANTS: Final = ("s", "x", "ch", "sh")


class Asked(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The query string of a collection."""

    q: list[str] = []  #: conditions, all must hold: ``name=web``, ``vmNics.ip~=10.0.%``, ``hostUuid is null``
    limit: Annotated[int, Meta(ge=0, le=MAX_LIMIT)] = DEFAULT_LIMIT  #: at most so many
    start: Annotated[int, Meta(ge=0)] = 0  #: from this one on; 0 is the first
    after: Annotated[str, Meta(max_length=LONGEST)] | None = (
        None  #: the `next` of the page before; costs the same on each page
    )
    count: bool = False  #: only the number of all that fit
    reply_with_count: bool = False  #: that number, in addition to the page
    count_up_to: Annotated[int, Meta(ge=1, le=MAX_START)] | None = None  #: count no further than to this number
    sort: str | None = None  #: ``+field`` ascending, ``-field`` descending
    fields: list[str] = []  #: only these fields, joined by commas or repeated


class Page(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a query: a page of inventories, or their number, or both."""

    inventories: list[Inventory] | None = None
    total: int | None = None
    next: str | None = None  #: the `after` of the next page; absent on the last one


class Queries:
    """The endpoints of all collections.

    Args:
        query: the engine that answers.
        authenticator: knows the sessions.
        records: the entities' records, by the entity's name.
    """

    def __init__(self, query: QueryEngine, authenticator: Authenticator, records: Mapping[str, RecordInfo]) -> None:
        self._query = query
        self._authenticator = authenticator
        self._records = records
        self._asked = Shape(Asked, "Query")

    def access(self, entity: str) -> Access:
        """The access that queries of an entity need: an administrator's, or any account's."""
        return Access.ADMIN if self._records[entity].meta.visible is Visible.ADMIN else Access.ACCOUNT

    def collection(self, entity: str) -> Endpoint:
        """The endpoint of ``GET /v1/<collection>``."""

        async def endpoint(call: HttpRequest) -> Response:
            caller = await self._caller(call, entity)
            asked = self._asked.of_query(call.query)
            answer = await self._query.run(request_of(entity, asked), caller.scope)
            page = Page(inventories=answer.inventories, total=answer.total, next=answer.next)
            return Reply(msgspec.json.encode(page))

        return endpoint

    def one(self, entity: str) -> Endpoint:
        """The endpoint of ``GET /v1/<collection>/{uuid}`` (``<noun>.not-found``)."""

        async def endpoint(call: HttpRequest) -> Response:
            caller = await self._caller(call, entity)
            uuid = call.variables[0]
            inventory = await self._query.get(entity, uuid, caller.scope)
            if inventory is None:
                record = self._records[entity]
                raise not_found(record.noun, "uuid", uuid, record.title)
            return Reply(msgspec.json.encode(Page(inventories=[inventory])))

        return endpoint

    async def _caller(self, call: HttpRequest, entity: str) -> Caller:
        return cast("Caller", await admit(call, self.access(entity), self._authenticator, f"Querying {entity}"))


def request_of(entity: str, asked: Asked) -> QueryRequest:
    """The engine's request for a query string."""
    return QueryRequest(
        entity=entity,
        conditions=asked.q,
        limit=asked.limit,
        start=asked.start,
        after=asked.after,
        count=asked.count,
        reply_with_count=asked.reply_with_count,
        count_up_to=asked.count_up_to,
        sort=asked.sort,
        fields=[name for part in asked.fields for name in (piece.strip() for piece in part.split(",")) if name],
    )


def collection_path(entity: str) -> str:
    """The default path of an entity's collection: its name in plural, ``VmInstance`` -> ``/vm-instances``."""
    name = command_name(entity)
    if name.endswith(_UNCOUNTABLE):
        return f"/{name}"
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return f"/{name[:-1]}ies"
    return f"/{name}es" if name.endswith(_SIBILANTS) else f"/{name}s"
