"""The node context: the kernel's parts of one node, for `build` functions to hand on. No other code sees it."""

from __future__ import annotations

import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

import structlog

from cairn.kernel.agent.client import AgentClient
from cairn.kernel.agent.reports import Reports
from cairn.kernel.bus.bus import Bus
from cairn.kernel.cascade import Cascade
from cairn.kernel.clock import Clock
from cairn.kernel.config import GlobalConfig
from cairn.kernel.deploy.ansible import Deployer
from cairn.kernel.deploy.authority import Authority
from cairn.kernel.deploy.installer import AgentInstaller
from cairn.kernel.desk import JobDesk
from cairn.kernel.duty import Duties
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.event import Events
from cairn.kernel.flow.engine import FlowEngine
from cairn.kernel.flow.run import FlowProbe
from cairn.kernel.flow.step import AnyStep
from cairn.kernel.guard import Guards
from cairn.kernel.ids import IdSource, NodeId
from cairn.kernel.invalidation import Invalidations
from cairn.kernel.jobs import Jobs
from cairn.kernel.loop import Loops
from cairn.kernel.metrics import Metrics
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.plugin.fault import PluginFault, reason_of
from cairn.kernel.plugin.steps import make_step, offered
from cairn.kernel.query.engine import QueryEngine
from cairn.kernel.queue import ResourceQueues
from cairn.kernel.ring import Ring
from cairn.kernel.settings import Settings
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store
from cairn.kernel.tag import Tags

if TYPE_CHECKING:
    from cairn.kernel.plugin.manifest import Loaded, Manifest

E = TypeVar("E")
_log = structlog.get_logger("cairn.plugin")


class Background(Protocol):
    """A part that runs as long as the node does."""

    async def start(self) -> None:
        """Called when every service is registered and jobs have been recovered."""

    async def stop(self) -> None:
        """Called first when the node stops."""


@dataclass(kw_only=True)
class NodeContext:
    """The kernel's parts of one node, and the objects that services give each other.

    Args:
        node: the node's id.
        report_url: where agents report to; None: nowhere, they are asked.
        loaded: which plugins there are, and which were left out.
        invalidation: tells of what other nodes have changed, so that what is kept in memory of it is forgotten.
        duties: says which of the cloud's duties are this node's.
        steps: of all workflows; added to by `add`.
        loops: work that is done again and again; started when all background parts are, and stopped before them.
        background: parts that run as long as the node does, started in this order.
        preparations: awaited in this order once everything is built, before the node starts.
        flow_probe: looks at each step and journal write of all workflows; for tests, where the node's maker gives no other.
    """

    node: NodeId
    settings: Settings
    report_url: Callable[[], str | None]
    store: Store
    bus: Bus
    ring: Ring
    clock: Clock
    ids: IdSource
    queues: ResourceQueues
    jobs: Jobs
    desk: JobDesk
    events: Events
    config: GlobalConfig
    tags: Tags
    query: QueryEngine
    agents: AgentClient
    metrics: Metrics
    loops: Loops
    extensions: Extensions
    guards: Guards
    cascade: Cascade
    authority: Authority
    deployer: Deployer
    installer: AgentInstaller
    reports: Reports
    loaded: Callable[[], Loaded]
    invalidation: Invalidations
    duties: Duties
    steps: list[AnyStep] = field(default_factory=list)
    background: list[Background] = field(default_factory=list)
    preparations: list[Callable[[], Awaitable[object]]] = field(default_factory=list)
    flow_probe: FlowProbe | None = None
    #: plugins that are part of the node, but of which something does not run: the name, and what
    troubles: dict[str, str] = field(default_factory=dict)
    #: the names of durable subscribers to events, by package
    subscribers: dict[str, list[str]] = field(default_factory=dict)
    _flows: FlowEngine | None = None
    _provided: dict[type, object] = field(default_factory=dict)
    _makers: dict[int, str] = field(default_factory=dict)  #: which package a part comes from, by the part's id

    # -- objects that services give each other --------------------------------------------------------------------

    def provide(self, kind: type[E], implementation: E) -> None:
        """Give other packages the one object of a type, a class or protocol of this package's ``provided.py``.

        Raises:
            CairnError: ``plugin.provided-twice``.
        """
        if kind in self._provided:
            raise CairnError(
                "plugin.provided-twice",
                f"{kind.__name__} is provided twice. Leave one of the two plugins out.",
                kind=ErrorKind.INVALID,
            )
        self._provided[kind] = implementation

    def need(self, kind: type[E]) -> E:
        """The object of this type that a package built before provides.

        Raises:
            CairnError: ``plugin.not-provided``: name its package in the manifest's `requires`.
        """
        if kind not in self._provided:
            raise CairnError(
                "plugin.not-provided",
                f"No plugin built before this one provides {kind.__module__}.{kind.__name__}. Name the plugin that does in "
                "the manifest's `requires`.",
                kind=ErrorKind.INVALID,
            )
        return cast("E", self._provided[kind])

    # -- life -------------------------------------------------------------------------------------------------------

    async def start_background(self) -> None:
        """Start the parts that run as long as the node does, then the loops.

        One of a plugin that cannot start is logged, and kept in `troubles`; the node goes on without it.
        """
        for background in self.background:
            try:
                await background.start()
            except Exception as error:
                if not self._is_of_plugin(background):
                    raise
                self._trouble(background, "does not run", error)
        self.loops.start()

    async def stop_background(self) -> None:
        """Stop the loops, then the parts. Safe to repeat."""
        await self.loops.stop()
        for background in reversed(self.background):
            try:
                await background.stop()
            except Exception as error:
                if not self._is_of_plugin(background):
                    raise
                self._trouble(background, "could not be stopped", error)

    async def prepare(self) -> None:
        """Do what packages asked for in `preparations`. Raises `PluginFault` for what a plugin's raises."""
        for preparation in self.preparations:
            try:
                await preparation()
            except Exception as error:
                if not self._is_of_plugin(preparation):
                    raise
                raise PluginFault(self._makers[id(preparation)], f"its preparation: {reason_of(error)}") from error

    def _is_of_plugin(self, part: object) -> bool:
        return self._makers.get(id(part)) in self.loaded().plugins

    def _trouble(self, part: object, what: str, error: Exception) -> None:
        plugin = self._makers[id(part)]
        self.troubles[plugin] = f"its {type(part).__name__} {what}: {reason_of(error)}"
        _log.error("plugin.trouble", plugin=plugin, reason=self.troubles[plugin], exc_info=error)

    # -- putting together -------------------------------------------------------------------------------------------

    def add(self, manifest: Manifest) -> None:
        """Build a package and make its steps.

        Raises:
            PluginFault: a plugin's `build`, or a constructor of its steps, raised; the node does without it.
            Exception: what a service of the core raised.
        """
        known = len(self.background), len(self.preparations)
        heard = frozenset(self.events.durable)
        try:
            own = manifest.build(self) or ()
            things = self._offered() | offered(own)
            self.steps += [make_step(kind, things) for kind in manifest.steps]
        except Exception as error:
            if manifest.name not in self.loaded().plugins:
                raise
            raise PluginFault(manifest.name, f"it cannot be built: {reason_of(error)}") from error
        for part in (*self.background[known[0] :], *self.preparations[known[1] :]):
            self._makers[id(part)] = manifest.name
        self.subscribers[manifest.name] = [name for name in self.events.durable if name not in heard]

    def _offered(self) -> dict[type, object]:
        """The kernel's parts by their declared types, and all that is provided."""
        hints = typing.get_type_hints(type(self), localns=_names())
        parts = {hints[one.name]: getattr(self, one.name) for one in fields(self) if not one.name.startswith("_")}
        classes = {kind: part for kind, part in parts.items() if isinstance(kind, type)}
        return {**classes, Schema: self.store.schema, **self._provided}

    # -- workflows --------------------------------------------------------------------------------------------------

    @property
    def flows(self) -> FlowEngine:
        """The workflow engine; there once all steps were added, so services keep a reference to `lazy_flows`."""
        assert self._flows is not None, "the workflow engine is made after all services are built"
        return self._flows

    def lazy_flows(self) -> Callable[[], FlowEngine]:
        """A function that gives the engine, for objects that are made before it."""
        return lambda: self.flows

    def complete(self, flows: FlowEngine) -> None:
        """Take the engine, which is made once all steps are known."""
        self._flows = flows


def _names() -> dict[str, object]:
    from cairn.kernel.plugin.manifest import Loaded, Manifest

    return {"Loaded": Loaded, "Manifest": Manifest}
