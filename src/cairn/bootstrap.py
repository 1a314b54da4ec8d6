"""Puts a node together: the one place that knows every part. Read it first.

The order: plugins are found; their records make the schema; the database is brought up to date and opened; the kernel's
parts are made; each plugin builds its objects from them; the workflows are worked out of all steps; then everything starts,
and jobs that an earlier run left open are taken up before the first call is accepted.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog
import uvloop

import cairn.plugins
import cairn.services
from cairn.gateway.agents import CALLBACK_PATH, REPORT_PATH, AgentCallbacks
from cairn.gateway.binding import ApiBinding
from cairn.gateway.door import Limits
from cairn.gateway.gateway import Gateway
from cairn.gateway.measures import MetricsPage
from cairn.gateway.render import renderer
from cairn.gateway.server import HttpServer
from cairn.gateway.tls import ApiCertificate, api_addresses
from cairn.kernel import log
from cairn.kernel.agent.client import AgentClient
from cairn.kernel.agent.http import AgentTransport, HttptoolsTransport
from cairn.kernel.assembly import NodeDependencies, assemble, make_schema
from cairn.kernel.bus.broker import parse_broker
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.transport import NoTransport, Transport
from cairn.kernel.clock import Clock, SystemClock
from cairn.kernel.cloud import join
from cairn.kernel.deploy.ansible import Deployer
from cairn.kernel.deploy.authority import Authority
from cairn.kernel.deploy.installer import AgentInstaller
from cairn.kernel.deploy.inventory import OperatorRoles
from cairn.kernel.deploy.known_hosts import KnownHosts
from cairn.kernel.deploy.renewal import keep_certificate, keep_up
from cairn.kernel.deploy.wheels import wheel_set
from cairn.kernel.drain import Drain
from cairn.kernel.error import CairnError
from cairn.kernel.files import connections, open_more, to_agents
from cairn.kernel.flow.engine import FlowProbe
from cairn.kernel.ids import IdSource, NodeId, RandomIds
from cairn.kernel.likeness import Likeness
from cairn.kernel.machine.rotation import LOOK_SECONDS, Rotation
from cairn.kernel.membership import FolderLock, Membership, lock_database
from cairn.kernel.metrics import Metrics
from cairn.kernel.plugin.context import NodeContext
from cairn.kernel.plugin.fault import PluginFault, blame, leave_out
from cairn.kernel.plugin.loader import find, running_version
from cairn.kernel.plugin.manifest import Loaded
from cairn.kernel.readiness import Readiness
from cairn.kernel.ring import Ring
from cairn.kernel.session import Authenticator
from cairn.kernel.settings import Settings, advertised, listeners, secret_key_file
from cairn.kernel.store.address import database_at
from cairn.kernel.store.key_watch import LOOK_SECONDS as KEY_LOOK_SECONDS
from cairn.kernel.store.key_watch import KeyWatch
from cairn.kernel.store.migrations import check_columns, upgrade
from cairn.kernel.store.sealing import claim_key, open_seals, seal_database
from cairn.kernel.store.store import Store
from cairn.kernel.tag_sealing import seal_tags
from cairn.kernel.takeover import Takeover

CORE_MIGRATIONS = Path(__file__).parent / "migrations" / "versions"
_log = structlog.get_logger("cairn.node")


def load_plugins(settings: Settings, *, scripts: bool = True) -> Loaded:
    """All services and plugins that these settings ask for. `scripts`: as in `find`."""
    extra, disabled = _names(settings.plugins_extra), _names(settings.plugins_disabled)
    return find(cairn.services, cairn.plugins, extra, disabled, scripts=scripts)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def migration_folders(loaded: Loaded) -> list[Path]:
    """The folders of the database's scripts, the core's first."""
    return [CORE_MIGRATIONS, *(folder for manifest in loaded.manifests if (folder := manifest.migrations) is not None)]


class Node:
    """A management node.

    Made by `Node.build`; a test may hand in parts of its own. `context` is for tests to look at.
    """

    def __init__(
        self,
        context: NodeContext,
        loaded: Loaded,
        membership: Membership,
        gateway: Gateway,
        servers: Sequence[tuple[HttpServer, list[tuple[str, int]]]],
        closers: Sequence[Callable[[], Awaitable[None]]],
    ) -> None:
        self.context = context
        self.loaded = loaded
        self.gateway = gateway
        self.addresses: list[tuple[str, int]] = []
        self._membership = membership
        self._doors = servers
        self._closers = closers
        self._ready = False
        self._leaving = False

    def readiness(self) -> Readiness:
        """Whether the node takes calls, and what is wrong with it. Asks memory only."""
        if not self._ready:
            return Readiness(reasons=["it is starting or stopping"])
        if self._leaving:
            return Readiness(reasons=["it is leaving, and takes calls for some seconds only"])
        found = (self.context.store.trouble(), self._membership.trouble())
        behind = [f"{loop.name}: last done {loop.age_seconds:.0f} s ago" for loop in self.context.loops.behind()]
        bus = self.context.bus.trouble()  # all nodes lose the broker at once, and each still does what is its own
        behind += [] if bus is None else [bus]
        return Readiness(reasons=[reason for reason in found if reason is not None], behind=behind)

    @classmethod
    async def build(
        cls,
        settings: Settings,
        *,
        clock: Clock | None = None,
        ids: IdSource | None = None,
        store: Store | None = None,
        agent_transport: AgentTransport | None = None,
        bus_transport: Transport | None = None,
        node: NodeId | None = None,
        probe: FlowProbe | None = None,
        loaded: Loaded | None = None,
        installer: AgentInstaller | None = None,
        on_fenced: Callable[[CairnError], None] | None = None,
        predecessor_dead: bool = False,
    ) -> Node:
        """Put a node together. A plugin that cannot be part of it is left out, with its reason in `loaded`.

        Args:
            settings: of the process.
            store: an open database of the same schema; None: the one that the settings name, brought up to date.
            agent_transport: how agents are reached; None: HTTP.
            bus_transport: how other nodes are reached; None: there are none.
            node: its id; None: by setting, or kept in the data folder.
            probe: for tests of workflows.
            loaded: plugins; None: those that the settings ask for.
            installer: puts agents on machines; None: by Ansible.
            on_fenced: called when this node is no longer a member.
            predecessor_dead: no other process runs with this node's id; known by itself when the node has its own store.

        Raises:
            CairnError: ``workflow.wrong-list``, ``plugin.*``, ``store.*``, ``node.folder-in-use``, ``node.other-cloud``,
                ``node.too-old``, ``secret.key-missing``.
        """
        given = _Given(
            clock=clock or SystemClock(),
            ids=ids or RandomIds(),
            store=store,
            agent_transport=agent_transport,
            bus_transport=bus_transport,
            node=node,
            probe=probe,
            installer=installer,
            on_fenced=on_fenced,
            predecessor_dead=predecessor_dead,
        )
        loaded = loaded or load_plugins(settings)
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            closers: list[Callable[[], Awaitable[None]]] = []
            try:
                return await cls._build(settings, loaded, given, closers)
            except PluginFault as fault:
                loaded = leave_out(loaded, fault)  # what was made of it is thrown away, and made anew
                await _close(closers)
            except BaseException:
                await _close(closers)
                raise

    @classmethod
    async def _build(
        cls, settings: Settings, loaded: Loaded, given: _Given, closers: list[Callable[[], Awaitable[None]]]
    ) -> Node:
        """Put a node together of these plugins.

        Raises:
            PluginFault: one of them cannot be part of it.
        """
        clock, ids, store, agent_transport = given.clock, given.ids, given.store, given.agent_transport
        metrics = Metrics()
        own_store, alone = store is None, False
        if store is None:
            lock = FolderLock(settings.data_dir)
            closers.append(_later(lock.release))
            file = database_at(_database(settings))
            alone = isinstance(file, Path)
            if isinstance(file, Path):  # nodes may share a database on a server
                closers.append(_later(lock_database(file).release))
            store = await open_store(settings, loaded, clock, metrics)
            closers.insert(0, store.close)
        kind = metrics.gauge(
            "cairn_store_info", "The database, and whether a commit survives a power cut.", "store", "durable"
        )
        kind.set(1, store.driver.dialect.name, "true")
        way = metrics.gauge("cairn_bus_info", "How this node reaches the others.", "bus")
        way.set(1, "rabbitmq" if settings.broker else "memory")
        own = given.node or _node_id(settings, ids)
        await join(store, settings.data_dir, ids, running_version())
        authority = await Authority.open(store, settings.data_dir / "pki", node=own, clock=clock)
        if agent_transport is None:
            http = HttptoolsTransport(clock, tls=authority.client_context(), per_address=256, total=to_agents())
            agent_transport = http
            closers.insert(0, http.aclose)
        agents = AgentClient(agent_transport, clock, ids, _agent_url(settings, CALLBACK_PATH), metrics.agents)
        ring = Ring()
        transport = given.bus_transport or _transport(settings, own, clock, metrics)
        bus = Bus(own, ring, transport, clock, metrics, ids, incarnation=lambda: membership.joined)
        membership = Membership(
            store,
            ring,
            clock,
            bus.node,
            host_name=advertised(settings)[0],
            port=advertised(settings)[1],
            likeness=await _likeness(settings, loaded, real=own_store),
            on_fenced=given.on_fenced or (lambda error: None),
            predecessor_dead=given.predecessor_dead or own_store,
            alone=alone,
        )
        deployer, usual = _installation(settings, store, clock, authority)
        needs = NodeDependencies(
            settings=settings,
            store=store,
            bus=bus,
            ring=ring,
            clock=clock,
            ids=ids,
            metrics=metrics,
            agents=agents,
            authority=authority,
            deployer=deployer,
            installer=given.installer or usual,
            render=renderer,
            owners=membership,
            report_url=lambda: _agent_url(settings, REPORT_PATH),
            probe=given.probe,
        )
        context = await assemble(loaded, needs)
        membership.survey_by(context.need(Takeover).survey)
        keep_certificate(authority, context.loops)
        keep_up(authority, context.loops, ring, own)
        if own_store:
            _watch_keys(context, KeyWatch(secret_key_file(settings), store.seals))
        context.loops.every("authority", lambda: LOOK_SECONDS, context.need(Rotation).look)
        await context.prepare()
        _check_calls(loaded)
        made: list[Node] = []
        gateway = Gateway(
            apis=loaded.api,
            settings=settings,
            store=store,
            query=context.query,
            jobs=context.desk,
            bus=bus,
            events=context.events,
            metrics=metrics,
            tags=context.tags,
            guards=context.guards,
            authenticator=context.need(Authenticator),
            ids=ids,
            clock=clock,
            configuration=loaded.settings,
            readiness=lambda: made[0].readiness(),
        )
        result = cls(context, loaded, membership, gateway, _servers(context, gateway), closers)
        made.append(result)
        return result

    async def start(self, *, serve: bool = True) -> None:
        """Start everything; open jobs of an earlier run go on. `serve`: listen for calls."""
        context = self.context
        await context.bus.start()
        await self._membership.start()
        await context.events.start()
        resumed = await context.need(Takeover).start()  # before anything else may begin
        if serve:
            for server, addresses in self._doors:
                self.addresses += await server.start(addresses)
        await context.start_background()
        context.metrics.jobs.read_from(self._job_counts)
        self._ready = True
        shown = [f"{host}:{port}" for host, port in self.addresses]
        _log.info("node.ready", node=context.node, addresses=shown, resumed_jobs=resumed)

    async def leave(self) -> bool:
        """Prepare for `stop`: hand on to other nodes what has not begun, and end what has, as long as settings allow.

        Calls are taken meanwhile; each is the last of its connection. Without other nodes nothing is done. It may be cancelled.

        Returns:
            Whether nothing is at work here any more.
        """
        context = self.context
        settings = context.settings
        if settings.drain_seconds == 0 or len(context.ring.alive) < 2:
            return False
        self._leaving = True
        for server, _ in self._doors:
            server.part()
        drain = Drain(
            membership=self._membership, ring=context.ring, jobs=context.jobs, bus=context.bus, clock=context.clock
        )
        return await drain.run(settings.drain_seconds, settings.drain_notice_seconds)

    async def stop(self) -> None:
        """Stop. Work under way is dropped where it stands, and goes on at the next start."""
        self._ready = False
        context = self.context
        await self.gateway.stop()
        for server, _ in self._doors:
            await server.stop()
        await context.stop_background()
        await context.desk.stop()
        await context.jobs.stop()
        await context.flows.stop()
        await context.events.stop()
        await self._membership.stop()
        await context.bus.stop()
        await _close(self._closers)

    def _job_counts(self) -> dict[tuple[str, ...], float]:
        running, waiting = self.context.jobs.counts()
        return {("running",): float(running), ("waiting",): float(waiting)}


@dataclass(frozen=True, kw_only=True)
class _Given:
    """What the caller of `Node.build` has chosen."""

    clock: Clock
    ids: IdSource
    store: Store | None
    agent_transport: AgentTransport | None
    bus_transport: Transport | None
    node: NodeId | None
    probe: FlowProbe | None
    installer: AgentInstaller | None
    on_fenced: Callable[[CairnError], None] | None
    predecessor_dead: bool


async def _close(closers: Sequence[Callable[[], Awaitable[None]]]) -> None:
    for close in closers:
        await close()


def _check_calls(loaded: Loaded) -> None:
    """Refuse a plugin whose calls could never be made (`PluginFault`)."""

    def attempt(some: Loaded) -> None:
        for api in some.api:
            ApiBinding(api, {})

    try:
        attempt(loaded)
    except Exception as error:
        raise blame(loaded, attempt, error) from error


def _database(settings: Settings) -> str:
    return settings.database or str(settings.data_dir / "cairn.db")


async def open_store(settings: Settings, loaded: Loaded, clock: Clock, metrics: Metrics) -> Store:
    """The database that the settings name, brought up to date; made if there is none."""
    path = _database(settings)
    schema = make_schema(loaded)
    seals = await asyncio.to_thread(open_seals, secret_key_file(settings), path)

    def attempt(some: Loaded) -> None:
        upgrade(path, migration_folders(some))
        check_columns(path, make_schema(some))

    try:
        await asyncio.to_thread(attempt, loaded)
    except Exception as error:
        # A failed upgrade is rolled back as a whole, or goes on where it stopped, so whose fault it was is found out one by one.
        raise await asyncio.to_thread(blame, loaded, attempt, error) from error
    await asyncio.to_thread(claim_key, path, seals, secret_key_file(settings))
    await asyncio.to_thread(seal_tags, path, loaded.tags, seals)
    await asyncio.to_thread(seal_database, path, schema, seals)
    return await Store.open(path, schema, clock, metrics.store, seals=seals)


def _watch_keys(context: NodeContext, watch: KeyWatch) -> None:
    async def look() -> None:
        await asyncio.to_thread(watch.look)

    context.loops.every("secret keys", lambda: KEY_LOOK_SECONDS, look)


def _node_id(settings: Settings, ids: IdSource) -> NodeId:
    if settings.node:
        return NodeId(settings.node)
    path = settings.data_dir / "node-id"
    if not path.exists():
        path.write_text(ids.new() + "\n", encoding="ascii")
    return NodeId(path.read_text(encoding="ascii").strip())


async def _likeness(settings: Settings, loaded: Loaded, *, real: bool) -> Likeness:
    """What this node has to have in common with the others. `real`: it puts agents on machines."""
    wheels = await asyncio.to_thread(_wheels, settings) if real else ""
    return Likeness(
        version=running_version(),
        plugins={one.name: one.version for one in loaded.manifests if one.name in loaded.plugins},
        wheels=wheels,
        rolling=frozenset(_names(settings.plugins_rolling)),
    )


def _wheels(settings: Settings) -> str:
    try:
        return wheel_set(Path(settings.wheels_dir) if settings.wheels_dir else None).checksum
    except CairnError:
        return ""  # there are none: who adds a host is told


def _transport(settings: Settings, node: NodeId, clock: Clock, metrics: Metrics) -> Transport:
    """The way to other nodes: the broker that the settings name; without one there are no others."""
    if not settings.broker:
        return NoTransport()
    from cairn.kernel.bus.rabbit import RabbitTransport  # a node that is alone does without its libraries

    return RabbitTransport(parse_broker(settings.broker, settings.broker_password_file), node, clock, metrics)


def _first(setting: str, listen: str) -> tuple[str, int]:
    return (listeners(setting, listen) or [("127.0.0.1", 0)])[0]


def _agent_url(settings: Settings, path: str) -> str | None:
    if settings.agent_url:
        return settings.agent_url.rstrip("/") + path
    if not settings.agent_listen:
        return None
    host, port = _first("CAIRN_AGENT_LISTEN", settings.agent_listen)
    return f"https://{f'[{host}]' if ':' in host else host}:{port}{path}"


def _installation(
    settings: Settings, store: Store, clock: Clock, authority: Authority
) -> tuple[Deployer, AgentInstaller]:
    """The parts that put agents on machines: Ansible over SSH, with copies of the cloud's keys and known hosts."""
    known_hosts = KnownHosts(store, settings.data_dir / "ssh" / "known_hosts")
    operator = OperatorRoles(path=Path(settings.ansible_dir)) if settings.ansible_dir else None
    deployer = Deployer(settings.data_dir / "ansible", known_hosts, clock=clock, operator=operator)
    wheels = Path(settings.wheels_dir) if settings.wheels_dir else None
    keys = settings.data_dir / "ssh" / "keys"
    return deployer, AgentInstaller(store, keys, deployer, authority, known_hosts, wheels)


def _servers(context: NodeContext, gateway: Gateway) -> list[tuple[HttpServer, list[tuple[str, int]]]]:
    settings, authority = context.settings, context.authority
    limits = Limits(connections=settings.max_connections, per_address=settings.max_connections_per_address)
    api = api_addresses(settings)
    servers = [(HttpServer(gateway, limits=limits), api.plain)] if api.plain else []
    if api.tls:
        more = [advertised(settings)[0]] if settings.advertise else []
        certificate = ApiCertificate(settings, authority, [*(host for host, _ in api.tls), *more])
        servers.append((HttpServer(gateway, certificate.context, limits), api.tls))

        async def renew() -> None:
            await asyncio.to_thread(certificate.reload)

        context.loops.every("API certificate", lambda: 600.0, renew)
    if settings.metrics_listen:
        addresses = listeners("CAIRN_METRICS_LISTEN", settings.metrics_listen)
        servers.append((HttpServer(MetricsPage(context.metrics.render), limits=limits), addresses))
    if settings.agent_listen:
        addresses = listeners("CAIRN_AGENT_LISTEN", settings.agent_listen)
        authority.issue_node([host for host, _ in addresses])
        app = AgentCallbacks(context.agents.deliver, context.reports.deliver, authority.is_revoked)
        servers.append((HttpServer(app, authority.server_context(), limits), addresses))
    return servers


def _later(call: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def closer() -> None:
        call()

    return closer


def serve(settings: Settings) -> int:
    """Run a node in the foreground until SIGTERM or SIGINT. Returns the process's exit code."""
    os.umask(0o077)
    log.configure(level=settings.log_level, form=settings.log_format)
    return uvloop.run(_serve(_with_files(settings)))


def _with_files(settings: Settings) -> Settings:
    """The settings, with as many connections as this process can have files for."""
    wanted = settings.max_connections
    files = open_more(wanted + wanted // 2)
    possible = connections(wanted, files)
    if possible < wanted:
        _log.warning("node.few-files", files=files, max_connections=possible, wanted=wanted)
    return msgspec.structs.replace(settings, max_connections=possible)


async def _serve(settings: Settings) -> int:
    """Be a member until a signal says otherwise. A node that was fenced begins anew: nothing of its former self is trusted."""
    end = _End()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, end.ask)
    while not end.asked.is_set():
        await _live(settings, end)
    return 0


class _End:
    """What signals have asked for: an end, and when they repeat it, an end at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.at_once = asyncio.Event()

    def ask(self) -> None:
        """A signal has come."""
        (self.at_once if self.asked.is_set() else self.asked).set()


async def _live(settings: Settings, end: _End) -> None:
    """One life of the node, until it is to `end` or is fenced."""
    over = asyncio.Event()

    def fenced(error: CairnError) -> None:
        _log.error("node.fenced", error=str(error))
        over.set()

    node = await Node.build(settings, on_fenced=fenced)
    await node.start()
    # Start-up objects live as long as the process: keep the collector from looking at them again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    await _until_one(end.asked.wait(), over.wait())
    if not over.is_set():
        await _until_one(node.leave(), end.at_once.wait(), over.wait())
    await node.stop()


async def _until_one(*work: Coroutine[object, object, object]) -> None:
    """Do all of this until one ends, and drop the others."""
    tasks = [asyncio.ensure_future(one) for one in work]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    for error in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(error, Exception):
            _log.error("node.end-failed", error=repr(error), exc_info=error)
