"""A small cloud behind a gateway: two kinds of resources, a handful of APIs, real jobs, bus, queries and store."""

from __future__ import annotations

import asyncio
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta, Struct
from starlette.types import ASGIApp, Message

from cairn.gateway.auth import Caller
from cairn.gateway.gateway import Gateway
from cairn.gateway.render import renderer
from cairn.kernel.api import (
    Access,
    ApiCommand,
    ApiCreate,
    ApiDelete,
    ApiQuery,
    Http,
    Name,
    Reference,
    Refers,
    Secret,
    Uuid,
    action,
    delete,
    get,
    post,
)
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.context import current
from cairn.kernel.bus.message import Event
from cairn.kernel.bus.transport import MemoryNetwork
from cairn.kernel.clock import Clock
from cairn.kernel.config import Setting
from cairn.kernel.desk import JobDesk
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.event import EventRow, Events
from cairn.kernel.ids import NodeId, RandomIds
from cairn.kernel.job import Job
from cairn.kernel.jobs import Jobs
from cairn.kernel.metrics import Metrics
from cairn.kernel.query import QueryEngine, Shares
from cairn.kernel.queue import ResourceQueues
from cairn.kernel.readiness import Readiness
from cairn.kernel.ring import Ring
from cairn.kernel.settings import Settings, load
from cairn.kernel.store import Doc, Index, Key, Owner, Record, Schema, Store, TableMeta, Tx, Visible
from cairn.kernel.tag import TagDefinition, Tags
from cairn.testing.owner import SoleOwner

ADMIN, ALICE, BOB = "a" * 32, "b" * 32, "c" * 32
SESSIONS = {
    "1" * 32: Caller(ADMIN, True, "1" * 32),
    "2" * 32: Caller(ALICE, False, "2" * 32),
    "3" * 32: Caller(BOB, False, "3" * 32),
}
AS_ADMIN, AS_ALICE, AS_BOB = ({"authorization": f"OAuth {session}"} for session in SESSIONS)
MISSING = "f" * 32


PLACE = TagDefinition("place::{place}", "Box", doc="where it is")


class Color(StrEnum):
    RED = "Red"
    BLUE = "Blue"


class Site(Record, frozen=True, kw_only=True):
    """A place where boxes stand."""

    meta: ClassVar[TableMeta] = TableMeta(table="site", entity="Site", visible=Visible.PUBLIC)

    uuid: Annotated[str, Key()]
    name: Annotated[str, Doc("what people call it")]


class Box(Record, frozen=True, kw_only=True):
    """A box. It has nothing inside."""

    meta: ClassVar[TableMeta] = TableMeta(table="box", entity="Box")

    uuid: Annotated[str, Key()]
    name: str
    site_uuid: str
    owner_uuid: Annotated[str, Owner()]
    color: Color = Color.RED
    create_date: datetime


class Share(Record, frozen=True, kw_only=True):
    """Caller may see what another owns."""

    meta: ClassVar[TableMeta] = TableMeta(table="share")

    uuid: Annotated[str, Key()]
    resource_uuid: Annotated[str, Index()]
    account_uuid: Annotated[str | None, Index()] = None
    to_public: bool = False


class Label(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    text_value: Annotated[str, Meta(min_length=1, max_length=8)]  #: what it says
    size: Annotated[int, Meta(ge=1, le=100)] = 10


class CreateBox(ApiCreate, frozen=True, kw_only=True, tag="test-box.create"):
    """Make a box. It is empty.

    Errors: ``box.unwanted``.
    """

    http: ClassVar[Http] = post("/boxes")
    entity: ClassVar[str | None] = "Box"
    access: ClassVar[Access] = Access.ACCOUNT

    name: Name  #: what people call it
    site_uuid: Annotated[Uuid, Refers("Site")]
    #: its color, to be seen
    #: from far away
    color: Color = Color.RED
    height: Annotated[int, Meta(ge=1, le=5)] = 1
    secret: Annotated[str, Secret(), Meta(min_length=4)] | None = None
    labels: list[Label] = []
    near: Annotated[list[Uuid], Refers("Site")] = []
    like_uuid: Annotated[Uuid, Refers("Box")] | None = None


class RenameBox(ApiCommand[Reference], frozen=True, kw_only=True, tag="test-box.rename"):
    """Give a box another name."""

    http: ClassVar[Http] = action("/boxes/{uuid}/actions", "renameBox")
    entity: ClassVar[str | None] = "Box"
    access: ClassVar[Access] = Access.ACCOUNT

    uuid: Annotated[Uuid, Refers("Box")]
    name: Name


class ShakeBox(ApiCommand[None], frozen=True, kw_only=True, tag="test-box.shake"):
    """Shake a box until it is cancelled."""

    http: ClassVar[Http] = action("/boxes/{boxUuid}/actions", "shakeBox")
    access: ClassVar[Access] = Access.ACCOUNT

    box_uuid: Annotated[Uuid, Refers("Box")]
    times: Annotated[int, Meta(ge=1)] = 1


class DeleteBox(ApiDelete, frozen=True, kw_only=True, tag="test-box.delete"):
    """Remove a box."""

    http: ClassVar[Http] = delete("/boxes/{uuid}")
    access: ClassVar[Access] = Access.ACCOUNT

    uuid: Uuid


class CreateSite(ApiCreate, frozen=True, kw_only=True, tag="test-site.create"):
    """Make a site."""

    http: ClassVar[Http] = post("/sites")
    entity: ClassVar[str | None] = "Site"

    name: Name


class Weight(Struct, frozen=True, kw_only=True, rename="camel"):
    total_grams: int
    asked_by: str | None
    seen: list[str]


class WeighBoxes(ApiQuery[Weight], frozen=True, kw_only=True, tag="test-box.weigh"):
    """How much boxes weigh together."""

    http: ClassVar[Http] = get("/boxes/weight")

    each: int
    names: list[str] = []
    limits: dict[str, int] = {}
    wet: bool = False
    site_uuid: Annotated[Uuid, Refers("Site")] | None = None


class LogIn(ApiQuery[Weight], frozen=True, kw_only=True, tag="test-account.log-in"):
    """Begin a session."""

    http: ClassVar[Http] = action("/login", "logIn")
    access: ClassVar[Access] = Access.ANYBODY

    name: str
    password: Annotated[str, Secret()]


class BoxMade(Event, frozen=True, kw_only=True, tag="test-box.made"):
    name: str


APIS = (CreateBox, RenameBox, ShakeBox, DeleteBox, CreateSite, WeighBoxes, LogIn)
PAINT = Setting("box", "paint.seconds", 60, unit="s", minimum=1, maximum=3600, doc="how long paint dries")


class Sessions:
    async def session(self, session_uuid: str) -> Caller | None:
        return SESSIONS.get(session_uuid)


class Answer(Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        decoded = msgspec.json.decode(self.body)
        assert isinstance(decoded, dict)
        return decoded

    def fields(self) -> dict[str, str]:
        found = self.json().get("fields", {})
        assert isinstance(found, dict)
        return found


class World:
    """The parts, and a client that calls the ASGI app without sockets."""

    def __init__(self, clock: Clock, store: Store, settings: Settings) -> None:
        self.clock = clock
        self.store = store
        self.metrics = Metrics()
        ring = Ring()
        node = NodeId("node-a")
        ring.set_members([node], 1)
        ids = RandomIds(seed=7)
        self.bus = Bus(node, ring, MemoryNetwork(clock).transport(node), clock, self.metrics, ids)
        self.query = QueryEngine(store.schema, store, shares=Shares(table="share"))
        self.events = Events(store, clock, lambda: 3600.0)
        self.jobs = Jobs(
            store=store,
            bus=self.bus,
            clock=clock,
            metrics=self.metrics,
            render=renderer(self.query),
            queues=ResourceQueues(clock, self.metrics),
            parallelism=lambda: 10,
            owners=SoleOwner(node),
            retention_seconds=lambda: 3600.0,
        )
        self.desk = JobDesk(jobs=self.jobs, store=store, bus=self.bus, clock=clock, owners=SoleOwner(node))
        self.shaken = asyncio.Event()
        self.readiness = Readiness()
        self._register()
        self.gateway = Gateway(
            apis=APIS,
            settings=settings,
            store=store,
            query=self.query,
            jobs=self.desk,
            bus=self.bus,
            events=self.events,
            metrics=self.metrics,
            authenticator=Sessions(),
            ids=ids,
            clock=clock,
            tags=Tags(ids, [PLACE]),
            configuration=(PAINT,),
            readiness=lambda: self.readiness,
        )

    def _register(self) -> None:
        self.bus.register(CreateBox, self._create_box)
        self.bus.register(CreateSite, self._create_site)
        self.bus.register(RenameBox, self._rename_box)
        self.bus.register(ShakeBox, self._shake_box)
        self.bus.register(DeleteBox, self._delete_box)
        self.bus.register(WeighBoxes, self._weigh)
        self.bus.register(LogIn, self._log_in)

    async def _create_box(self, message: CreateBox) -> Reference:
        uuid, owner = str(message.resource_uuid), str(current().actor)
        if message.name == "unwanted":
            raise CairnError("box.unwanted", "Nobody wants it. Choose another name.", kind=ErrorKind.CONFLICT)

        def fn(tx: Tx) -> Reference:
            tx.insert(
                Box(
                    uuid=uuid,
                    name=message.name,
                    site_uuid=message.site_uuid,
                    owner_uuid=owner,
                    color=message.color,
                    create_date=tx.now,
                )
            )
            self.events.emit(tx, BoxMade(name=message.name), resource=uuid, account=owner)
            return Reference(uuid=uuid)

        return await self.jobs.commit(fn)

    async def _create_site(self, message: CreateSite) -> Reference:
        uuid = str(message.resource_uuid)

        def fn(tx: Tx) -> Reference:
            tx.insert(Site(uuid=uuid, name=message.name))
            return Reference(uuid=uuid)

        return await self.jobs.commit(fn)

    async def _rename_box(self, message: RenameBox) -> Reference:
        def fn(tx: Tx) -> Reference:
            tx.update(Box, message.uuid, name=message.name)
            return Reference(uuid=message.uuid)

        return await self.jobs.commit(fn)

    async def _shake_box(self, message: ShakeBox) -> None:
        await self.shaken.wait()

    async def _delete_box(self, message: DeleteBox) -> None:
        def fn(tx: Tx) -> None:
            tx.delete(Box, message.uuid)

        await self.jobs.commit(fn)

    async def _weigh(self, message: WeighBoxes) -> Weight:
        if message.each < 0:
            raise RuntimeError("a scale broke")
        seen = [*message.names, *(f"{key}={value}" for key, value in message.limits.items()), str(message.wet)]
        return Weight(total_grams=message.each * len(message.names), asked_by=current().actor, seen=seen)

    async def _log_in(self, message: LogIn) -> Weight:
        return Weight(total_grams=0, asked_by=None, seen=[message.name, message.password])

    async def call(
        self,
        verb: str,
        target: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        app: ASGIApp | None = None,
    ) -> Answer:
        """One request; `body` is encoded as JSON unless it is bytes already."""
        raw = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        return await request(app or self.gateway, verb, target, raw, headers or {})

    async def site(self, name: str = "here") -> str:
        """The uuid of a new site."""
        uuid = RandomIds().new()
        await self.store.write(lambda tx: tx.insert(Site(uuid=uuid, name=name)))
        return uuid

    async def box(self, name: str = "box", owner: str = ALICE) -> str:
        """The uuid of a new box."""
        uuid = RandomIds().new()
        row = Box(uuid=uuid, name=name, site_uuid="0" * 32, owner_uuid=owner, create_date=self.clock.now())
        await self.store.write(lambda tx: tx.insert(row))
        return uuid

    async def share(self, box: str, account: str) -> None:
        """Let another account see a box."""
        row = Share(uuid=RandomIds().new(), resource_uuid=box, account_uuid=account)
        await self.store.write(lambda tx: tx.insert(row))


async def request(
    app: ASGIApp, verb: str, target: str, body: bytes, headers: dict[str, str], state: dict[str, object] | None = None
) -> Answer:
    """One request to an ASGI app; `state`: what the server tells of the connection."""
    from urllib.parse import unquote

    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": verb,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "state": state or {},
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
    }
    sent: list[Message] = []
    pieces = [body[:7], body[7:]] if body else [b""]

    async def receive() -> Message:
        if not pieces:
            return {"type": "http.disconnect"}
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    answered = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], answered, b"".join(part.get("body", b"") for part in sent[1:]))


async def world(clock: Clock, *, max_body_bytes: int = 1 << 16) -> World:
    """A new world."""
    store = await Store.memory(Schema([Site, Box, Share, Job, EventRow]), clock, inline=True)
    return World(clock, store, load({}, max_body_bytes=max_body_bytes))
