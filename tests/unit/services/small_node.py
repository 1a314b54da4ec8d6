"""A node with some services on a real kernel: memory store, inline transactions, virtual clock, seeded ids, no agents."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import msgspec

from cairn.gateway.render import renderer
from cairn.kernel.admission import check_call
from cairn.kernel.api import ApiCommand
from cairn.kernel.bus.context import CallContext, entered
from cairn.kernel.bus.message import Command, Query
from cairn.kernel.error import CairnError
from cairn.kernel.ids import JobId, NodeId, RandomIds
from cairn.kernel.job import Job
from cairn.kernel.plugin.manifest import LeftOut, Manifest, NodeContext
from cairn.kernel.resource import write
from cairn.kernel.store.record import Named, Record
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import TagDefinition
from cairn.services.admin.manifest import MANIFEST as ADMIN
from cairn.services.identity.manifest import MANIFEST as IDENTITY
from cairn.services.tag.manifest import MANIFEST as TAG
from cairn.services.zone.manifest import MANIFEST as ZONE
from cairn.testing.clock import VirtualClock
from cairn.testing.rig import small_context, stop

R = TypeVar("R")
T = TypeVar("T", bound=Record)
NODE = NodeId("node")

HOSTNAME = TagDefinition("hostname::{hostname}", "Zone", doc="what it is called")
RACK = TagDefinition(
    "rack::{rack}", "Zone", doc="where it stands", check=lambda v: None if len(v["rack"]) < 3 else "long"
)


SAMPLES = Manifest(package=__name__, doc="Tags for tests.")


class SmallNode:
    """The services of the kernel, and those that a test adds."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.ids = RandomIds(seed=1)
        self.context: NodeContext

    async def start(self, *more: Manifest) -> SmallNode:
        """Build the services as a node does."""
        manifests = (IDENTITY, TAG, ZONE, ADMIN, *more)
        left_out = [LeftOut(name="audit", reason="it is named in plugins_disabled")]
        self.context = await small_context(
            [SAMPLES, *manifests], self.clock, self.ids, render=renderer, left_out=left_out
        )
        return self

    async def stop(self) -> None:
        await stop(self.context)

    # -- short cuts -----------------------------------------------------------------------------------------------

    async def call(self, message: Command[R] | Query[R], actor: str | None = None) -> R:
        """A call by an account; None: by the cloud itself. Refused as the gateway refuses it."""
        if isinstance(message, ApiCommand):
            check_call(message, self.context.tags)
        with entered(CallContext(actor=actor)):
            return await self.context.bus.call(message)

    async def refused(self, message: Command[R] | Query[R], code: str, actor: str | None = None) -> CairnError:
        """A call that must fail with `code`."""
        try:
            answer = await self.call(message, actor)
        except CairnError as error:
            assert error.code == code, str(error)
            return error
        raise AssertionError(f"expected {code}, got {answer}")

    async def job(self, message: ApiCommand[R], actor: str | None = None) -> Job:
        """The call as a job, when it has ended."""
        job = JobId(self.ids.new())
        await self.context.desk.submit(job, cast("ApiCommand[object]", message), actor=actor, timeout_seconds=60.0)
        return await self.context.desk.look(job, wait_seconds=60.0)

    async def insert(self, *records: Record) -> None:
        def fn(tx: Tx) -> None:
            for record in records:
                write(tx, record) if isinstance(record, Named) else tx.insert(record)

        await self.context.store.write(fn)

    async def all(self, record: type[T], **equal: object) -> list[T]:
        where: dict[str, Any] = equal
        return await self.context.store.read(lambda tx: tx.find(record, **where))

    async def one(self, record: type[T], uuid: str) -> T:
        found = await self.context.store.read(lambda tx: tx.get(record, uuid))
        assert found is not None
        return found

    async def shown(self, entity: str, uuid: str) -> dict[str, object]:
        """What the API shows of a resource."""
        found = await self.context.query.get(entity, uuid)
        assert found is not None
        return cast("dict[str, object]", msgspec.to_builtins(found))
