"""A node with some services on a real kernel: memory store, inline transactions, virtual clock, seeded ids, no agents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from cairn.gateway.render import renderer
from cairn.kernel.agent.client import AgentClient
from cairn.kernel.api import ApiCommand
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.context import CallContext, entered
from cairn.kernel.bus.message import Command, Query
from cairn.kernel.bus.transport import NoTransport
from cairn.kernel.cascade import Cascade
from cairn.kernel.config import GlobalConfig
from cairn.kernel.deploy.ansible import Deployer
from cairn.kernel.deploy.authority import Authority
from cairn.kernel.deploy.installer import AgentInstaller
from cairn.kernel.error import CairnError
from cairn.kernel.event import Events
from cairn.kernel.flow.engine import FlowEngine
from cairn.kernel.flow.workflow import WorkflowBook, read_source
from cairn.kernel.ids import JobId, NodeId, RandomIds
from cairn.kernel.jobs import Job, Jobs
from cairn.kernel.metrics import Metrics
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.plugin.manifest import LeftOut, Loaded, Manifest, Parts
from cairn.kernel.query.catalog import TagTables
from cairn.kernel.query.engine import QueryEngine
from cairn.kernel.queue import ResourceQueues
from cairn.kernel.ring import Ring
from cairn.kernel.store.record import Record
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store
from cairn.kernel.tag import TagDefinition, Tags
from cairn.services.admin.manifest import MANIFEST as ADMIN
from cairn.services.identity.manifest import MANIFEST as IDENTITY
from cairn.services.tag.manifest import MANIFEST as TAG
from cairn.services.zone.manifest import MANIFEST as ZONE
from cairn.settings import Settings
from cairn.testing.clock import VirtualClock

R = TypeVar("R")
T = TypeVar("T", bound=Record)
NODE = NodeId("node")

HOSTNAME = TagDefinition("hostname::{hostname}", "Zone", doc="what it is called")
RACK = TagDefinition(
    "rack::{rack}", "Zone", doc="where it stands", check=lambda v: None if len(v["rack"]) < 3 else "long"
)


class SmallNode:
    """The services of the kernel, and those that a test adds."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.ids = RandomIds(seed=1)
        self.parts: Parts

    async def start(self, *more: Manifest, records: Sequence[type[Record]] = ()) -> SmallNode:
        """Build the services as a node does."""
        manifests = (ADMIN, IDENTITY, TAG, ZONE, *more)
        schema = Schema([*(record for manifest in manifests for record in manifest.records), *records])
        store = await Store.memory(schema, self.clock, inline=True)
        ring, metrics = Ring(), Metrics()
        ring.set_members([NODE], 1)
        bus = Bus(NODE, ring, NoTransport(), self.clock, metrics, self.ids)
        query = QueryEngine(schema, store, tags=TagTables())
        queues = ResourceQueues(self.clock, metrics)
        jobs = Jobs(
            store=store,
            bus=bus,
            clock=self.clock,
            metrics=metrics,
            render=renderer(query),
            parallelism=lambda: 100,
            retention_seconds=lambda: 1800.0,
        )
        self.parts = Parts(
            node=NODE,
            settings=Settings(data_dir=Path("unused")),
            report_url=lambda: None,
            store=store,
            bus=bus,
            ring=ring,
            clock=self.clock,
            ids=self.ids,
            queues=queues,
            jobs=jobs,
            events=Events(store, self.clock, lambda: 1800.0),
            config=GlobalConfig(store, [setting for manifest in manifests for setting in manifest.settings]),
            tags=Tags(self.ids, [HOSTNAME, RACK]),
            query=query,
            agents=cast("AgentClient", None),
            metrics=metrics,
            extensions=Extensions(),
            cascade=Cascade(store, bus),
            authority=cast("Authority", None),
            deployer=cast("Deployer", None),
            installer=cast("AgentInstaller", None),
            loaded=lambda: Loaded(manifests, [LeftOut(name="audit", reason="it is named in plugins_disabled")]),
        )
        for manifest in manifests:
            manifest.build(self.parts)
        flows = FlowEngine(
            store=store,
            book=WorkflowBook(
                [workflow for manifest in manifests for workflow in manifest.workflows],
                self.parts.steps,
                [read_source(manifest.workflow_file) for manifest in manifests if manifest.workflow_file],
            ),
            clock=self.clock,
            ids=self.ids,
            queues=queues,
            finish=jobs.finish,
            fence=lambda tx: 1,
            retry_seconds=lambda: 10.0,
        )
        self.parts.complete(flows)
        jobs.attach(flows)
        await self.parts.config.start()
        return self

    async def stop(self) -> None:
        for background in self.parts.background:
            await background.stop()
        await self.parts.jobs.stop()
        await self.parts.flows.stop()
        await self.parts.bus.stop()
        await self.parts.store.close()

    # -- short cuts -----------------------------------------------------------------------------------------------

    async def call(self, message: Command[R] | Query[R], actor: str | None = None) -> R:
        """A call by an account; None: by the cloud itself."""
        with entered(CallContext(actor=actor)):
            return await self.parts.bus.call(message)

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
        await self.parts.jobs.submit(job, cast("ApiCommand[object]", message), actor=actor, timeout_seconds=60.0)
        return await self.parts.jobs.look(job, wait_seconds=60.0)

    async def insert(self, *records: Record) -> None:
        await self.parts.store.write(lambda tx: tx.insert_many(records))

    async def all(self, record: type[T], **equal: object) -> list[T]:
        where: dict[str, Any] = equal
        return await self.parts.store.read(lambda tx: tx.find(record, **where))

    async def one(self, record: type[T], uuid: str) -> T:
        found = await self.parts.store.read(lambda tx: tx.get(record, uuid))
        assert found is not None
        return found

    async def shown(self, entity: str, uuid: str) -> dict[str, object]:
        """What the API shows of a resource."""
        found = await self.parts.query.get(entity, uuid)
        assert found is not None
        return cast("dict[str, object]", msgspec.to_builtins(found))
