"""The manifest: what a service or plugin declares of itself, in one object.

Services of the core and plugins, ours and anybody's, come through this same door. `build` is called once per node, when all
kernel parts are there; it makes the service's objects, hands each what its constructor asks for, and registers them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from cairn.kernel.agent.client import AgentClient
from cairn.kernel.api import AnyApi
from cairn.kernel.bus.bus import Bus
from cairn.kernel.cascade import Cascade
from cairn.kernel.clock import Clock
from cairn.kernel.config import AnySetting, GlobalConfig
from cairn.kernel.deploy.ansible import Deployer
from cairn.kernel.deploy.authority import Authority
from cairn.kernel.deploy.installer import AgentInstaller
from cairn.kernel.event import Events
from cairn.kernel.flow.engine import FlowEngine, FlowProbe
from cairn.kernel.flow.step import AnyStep
from cairn.kernel.flow.workflow import AnyWorkflow
from cairn.kernel.ids import IdSource, NodeId
from cairn.kernel.jobs import Jobs
from cairn.kernel.metrics import Metrics
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.query.engine import QueryEngine
from cairn.kernel.queue import ResourceQueues
from cairn.kernel.ring import Ring
from cairn.kernel.store.record import Record
from cairn.kernel.store.store import Store
from cairn.kernel.tag import TagDefinition, Tags
from cairn.settings import Settings


class Background(Protocol):
    """Something that runs as long as the node does."""

    async def start(self) -> None:
        """Called when every service is registered and jobs have been recovered."""

    async def stop(self) -> None:
        """Called first when the node stops."""


class Parts:
    """The kernel's parts of one node, for `build` to hand on. Only `build` functions see it."""

    def __init__(
        self,
        *,
        node: NodeId,
        settings: Settings,
        report_url: Callable[[], str | None],
        store: Store,
        bus: Bus,
        ring: Ring,
        clock: Clock,
        ids: IdSource,
        queues: ResourceQueues,
        jobs: Jobs,
        events: Events,
        config: GlobalConfig,
        tags: Tags,
        query: QueryEngine,
        agents: AgentClient,
        metrics: Metrics,
        extensions: Extensions,
        cascade: Cascade,
        authority: Authority,
        deployer: Deployer,
        installer: AgentInstaller,
        loaded: Callable[[], Loaded],
    ) -> None:
        self.node = node
        self.settings = settings
        self.report_url = report_url
        self.store = store
        self.bus = bus
        self.ring = ring
        self.clock = clock
        self.ids = ids
        self.queues = queues
        self.jobs = jobs
        self.events = events
        self.config = config
        self.tags = tags
        self.query = query
        self.agents = agents
        self.metrics = metrics
        self.extensions = extensions
        self.cascade = cascade
        self.authority = authority
        self.deployer = deployer
        self.installer = installer
        self.loaded = loaded
        self.steps: list[AnyStep] = []
        self.background: list[Background] = []
        #: looks at each step and journal write of all workflows; for tests, where the node's maker gives no other
        self.flow_probe: FlowProbe | None = None
        self._flows: FlowEngine | None = None

    @property
    def flows(self) -> FlowEngine:
        """The workflow engine; there once all steps were added, so services keep a reference to `lazy_flows`."""
        assert self._flows is not None, "the workflow engine is made after all services are built"
        return self._flows

    def lazy_flows(self) -> Callable[[], FlowEngine]:
        """A way to reach the engine from objects that are made before it."""
        return lambda: self.flows

    def complete(self, flows: FlowEngine) -> None:
        """All steps are known: here is the engine."""
        self._flows = flows


class LeftOut(Struct, frozen=True, kw_only=True):
    """A plugin that is not loaded."""

    name: str
    reason: str


class Manifest:
    """What a service or plugin is.

    Args:
        name: of the folder, and in ``plugins.disabled``.
        doc: what it is for, in a sentence.
        build: makes and registers its objects.
        requires: other plugins that it cannot do without; left out when one of them is.
        records: its tables.
        api: its API messages.
        settings: its global configuration.
        tags: the system tags that it understands.
        workflows: the operations that it owns; their steps stand in `workflow_file`.
        workflow_file: lists of its own workflows, and changes of others'.
        migrations: folder of its Alembic scripts; None for the core, whose scripts are together.
    """

    def __init__(
        self,
        *,
        name: str,
        doc: str,
        build: Callable[[Parts], None],
        requires: Sequence[str] = (),
        records: Sequence[type[Record]] = (),
        api: Sequence[type[AnyApi]] = (),
        settings: Sequence[AnySetting] = (),
        tags: Sequence[TagDefinition] = (),
        workflows: Sequence[AnyWorkflow] = (),
        workflow_file: Path | None = None,
        migrations: Path | None = None,
    ) -> None:
        self.name = name
        self.doc = doc
        self.build = build
        self.requires = tuple(requires)
        self.records = tuple(records)
        self.api = tuple(api)
        self.settings = tuple(settings)
        self.tags = tuple(tags)
        self.workflows = tuple(workflows)
        self.workflow_file = workflow_file
        self.migrations = migrations


class Loaded:
    """What was found, in the order in which it is built: each after what it requires."""

    def __init__(self, manifests: Sequence[Manifest], left_out: Sequence[LeftOut]) -> None:
        self.manifests = tuple(manifests)
        self.left_out = tuple(left_out)
