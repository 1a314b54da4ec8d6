"""Puts the kernel's parts together and builds services and plugins on them, for nodes and for tests.

The order: the parts are made; each package builds its objects from them; the workflows are worked out of all steps; a
call that has a workflow is answered by it. Nothing is started here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cairn.kernel import limits
from cairn.kernel.agent.client import AgentClient
from cairn.kernel.agent.reports import Reports
from cairn.kernel.api import ApiCommand
from cairn.kernel.bus.bus import Bus
from cairn.kernel.cascade import Cascade
from cairn.kernel.clock import Clock
from cairn.kernel.config import GlobalConfig, GlobalConfigRow, Setting
from cairn.kernel.deploy.ansible import Deployer
from cairn.kernel.deploy.authority import Authority
from cairn.kernel.deploy.installer import AgentInstaller
from cairn.kernel.desk import JobDesk
from cairn.kernel.duty import Duties
from cairn.kernel.error import CairnError
from cairn.kernel.event import Events
from cairn.kernel.extensions import CallGuard, TagHook
from cairn.kernel.flow.engine import FlowEngine, FlowProbe
from cairn.kernel.flow.step import AnyStep
from cairn.kernel.flow.workflow import WorkflowBook, WorkflowSource, read_source
from cairn.kernel.guard import Guards
from cairn.kernel.ids import IdSource
from cairn.kernel.invalidation import KEEP_SECONDS, LOOK_SECONDS, Invalidations
from cairn.kernel.jobs import Jobs, Render
from cairn.kernel.loop import Loops
from cairn.kernel.metrics import LAG_SECONDS, LagProbe, Metrics
from cairn.kernel.news import News
from cairn.kernel.ownership import Ownership
from cairn.kernel.plugin.context import NodeContext
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.plugin.fault import blame
from cairn.kernel.plugin.manifest import Loaded
from cairn.kernel.plugin.trace import kept_settings, remember
from cairn.kernel.query.catalog import TagTables
from cairn.kernel.query.engine import QueryEngine
from cairn.kernel.queue import ResourceQueues
from cairn.kernel.ring import Ring
from cairn.kernel.settings import Settings
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store
from cairn.kernel.tag import Tags
from cairn.kernel.takeover import ROUND_SECONDS, Takeover

_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class NodeDependencies:
    """The outer parts that a node's kernel is made from. Two nodes in one process have two of these.

    Args:
        store: open, of the schema of all records.
        bus: of this node.
        ring: that `bus` routes by.
        agents: the way to agents.
        render: makes, of a query engine, the function that renders jobs' answers.
        owners: which node a key belongs to.
        report_url: where agents report to.
        probe: for tests of workflows.
        sources: workflow files in addition to those of packages and of the operator.
    """

    settings: Settings
    store: Store
    bus: Bus
    ring: Ring
    clock: Clock
    ids: IdSource
    metrics: Metrics
    agents: AgentClient
    authority: Authority
    deployer: Deployer
    installer: AgentInstaller
    render: Callable[[QueryEngine], Render]
    owners: Ownership
    report_url: Callable[[], str | None] = lambda: None
    probe: FlowProbe | None = None
    sources: Sequence[WorkflowSource] = ()


def make_schema(loaded: Loaded) -> Schema:
    """The tables of all services and plugins that are loaded."""
    return Schema(loaded.records)


async def assemble(loaded: Loaded, needs: NodeDependencies) -> NodeContext:
    """The kernel's parts with all services and plugins built on them, ready to be started.

    Raises:
        PluginFault: what a plugin does wrong: assemble the node again without it.
        CairnError: ``workflow.wrong-list``, ``plugin.*``.
    """
    store, clock, ids, metrics = needs.store, needs.clock, needs.ids, needs.metrics
    present = frozenset(manifest.name for manifest in loaded.manifests)
    duties, news = Duties(needs.bus.node, needs.ring), News(needs.bus, needs.ring, clock)
    invalidation = Invalidations(store, clock, lambda: news.alone)
    await invalidation.start()
    config = GlobalConfig(store, loaded.settings, lambda tx: kept_settings(tx, present))
    await config.start()
    invalidation.on(GlobalConfigRow, config.reread)
    sealed = tuple(tag.prefix for tag in loaded.tags if tag.sealed)
    query = QueryEngine(
        store.schema,
        store,
        tags=TagTables(sealed=sealed),
        timeout_seconds=lambda: float(config.get(limits.QUERY_TIMEOUT)),
    )
    queues = ResourceQueues(clock, metrics)
    extensions = Extensions()
    guards = Guards(lambda: extensions.of(CallGuard))
    jobs = Jobs(
        store=store,
        bus=needs.bus,
        clock=clock,
        metrics=metrics,
        render=needs.render(query),
        queues=queues,
        parallelism=lambda: config.get(limits.API_PARALLELISM),
        retention_seconds=lambda: float(config.get(limits.JOB_RETENTION)),
        owners=needs.owners,
        setting=config.get,
        guards=guards,
    )
    node = NodeContext(
        node=needs.bus.node,
        settings=needs.settings,
        report_url=needs.report_url,
        store=store,
        bus=needs.bus,
        ring=needs.ring,
        clock=clock,
        ids=ids,
        queues=queues,
        jobs=jobs,
        desk=JobDesk(jobs=jobs, store=store, bus=needs.bus, clock=clock, owners=needs.owners),
        events=Events(
            store,
            clock,
            lambda: float(config.get(limits.EVENT_RETENTION)),
            setting=config.get,
            metrics=metrics,
            duties=duties,
            begin=needs.owners.begin,
            news=news,
        ),
        config=config,
        tags=Tags(ids, loaded.tags, lambda: extensions.of(TagHook)),
        query=query,
        agents=needs.agents,
        metrics=metrics,
        loops=Loops(clock, metrics, duties, news.wanted),
        extensions=extensions,
        guards=guards,
        cascade=Cascade(store, needs.bus, guards),
        authority=needs.authority,
        deployer=needs.deployer,
        installer=needs.installer,
        reports=Reports(),
        loaded=lambda: loaded,
        invalidation=invalidation,
        duties=duties,
    )
    _hear_other_nodes(node, news)
    metrics.gauge("cairn_node_info", "Which node this is; its metrics are its own.", "node").set(1, node.node)
    node.loops.every("event loop lag", lambda: LAG_SECONDS, LagProbe(metrics, clock).look, at_once=True)
    made: dict[str, list[AnyStep]] = {}
    for manifest in loaded.manifests:
        known = len(node.steps)
        node.add(manifest)
        made[manifest.name] = node.steps[known:]
    await remember(store, loaded, node.subscribers)
    node.cascade.register_apis(loaded.api)
    flows = FlowEngine(
        store=store,
        book=_book(loaded, made, needs),
        clock=clock,
        ids=ids,
        queues=queues,
        finish=jobs.finish,
        owners=needs.owners,
        retry_seconds=lambda: float(config.get(limits.UNDO_RETRY_INTERVAL)),
        probe=needs.probe or node.flow_probe,
        guards=guards,
    )
    _answer_by_workflows(loaded, needs.bus, flows)
    jobs.attach(flows)
    takeover = Takeover(store=store, bus=needs.bus, ring=needs.ring, owners=needs.owners, jobs=jobs, flows=flows)
    node.provide(Takeover, takeover)
    rounds = node.loops.every("takeover", lambda: ROUND_SECONDS, takeover.round)
    needs.ring.listen(lambda change: rounds.wake())
    for setting in (limits.API_PARALLELISM, limits.API_RESERVE, limits.API_SHARE, *_call_limits(loaded)):
        config.listen(setting, jobs.changed)
    node.complete(flows)
    return node


def _hear_other_nodes(node: NodeContext, news: News) -> None:
    """See what other nodes have written: each second, and at once when they say so."""
    changes = node.loops.every("changes of other nodes", lambda: LOOK_SECONDS, node.invalidation.look)
    node.loops.every("events of other nodes", lambda: LOOK_SECONDS, node.events.look)
    node.loops.every("invalidation cleaning", lambda: KEEP_SECONDS, node.invalidation.clean, once_per_cloud=True)
    node.store.on_told(news.changed)
    news.listen(node.events.happened_elsewhere, changes.wake_here, node.loops.wake)


def _book(loaded: Loaded, made: Mapping[str, Sequence[AnyStep]], needs: NodeDependencies) -> WorkflowBook:
    """The workflows (`PluginFault`: those of a plugin do not fit; ``workflow.wrong-list``: those of the operator)."""
    steps = [step for those in made.values() for step in those]
    try:
        return WorkflowBook(loaded.workflows, steps, [*workflow_sources(loaded, needs.settings), *needs.sources])
    except CairnError as error:
        raise blame(loaded, lambda some: _book_of(some, made), error) from error


def _book_of(loaded: Loaded, made: Mapping[str, Sequence[AnyStep]]) -> WorkflowBook:
    """The workflows of these packages alone, without the operator's changes."""
    steps = [step for manifest in loaded.manifests for step in made[manifest.name]]
    return WorkflowBook(loaded.workflows, steps, _owners_sources(loaded))


def _call_limits(loaded: Loaded) -> set[Setting[int]]:
    """The settings that say how many slow calls run at a time."""
    found = {api.limit for api in loaded.api if issubclass(api, ApiCommand) and api.limit is not None}
    return {setting for limit in found for setting in limit}


def _answer_by_workflows(loaded: Loaded, bus: Bus, flows: FlowEngine) -> None:
    """Let calls that have a workflow, and that no service handles, be answered by their workflows."""
    for workflow in loaded.workflows:
        if workflow.message is not None and not bus.handles(workflow.message):
            bus.register(workflow.message, flows.handler(workflow))


def workflow_sources(loaded: Loaded, settings: Settings) -> list[WorkflowSource]:
    """Workflow files: the owners', then the operator's, in the order of their names."""
    folder = Path(settings.workflow_dir) if settings.workflow_dir else settings.data_dir / "workflows.d"
    return [*_owners_sources(loaded), *map(read_source, sorted(folder.glob("*.toml")))]


def _owners_sources(loaded: Loaded) -> list[WorkflowSource]:
    return [_shown(file) for manifest in loaded.manifests if (file := manifest.workflow_file) is not None]


def _shown(file: Path) -> WorkflowSource:
    """The file under the name that people know it by: below the distribution, or its whole path."""
    return read_source(file, str(file.relative_to(_ROOT) if file.is_relative_to(_ROOT) else file))
