"""A whole cloud in a test: a node with its database in memory, simulated hosts without sockets, and a clock that the test owns.

Calls go through the gateway, as everybody's do::

    async with Cloud.open(hosts=2) as cloud:
        await cloud.make_site()
        vm = await cloud.create_vm("web")
        assert vm["state"] == "Running"

A node can be killed at any moment (`Cloud.kill`): nothing of it runs any more, not even clean-up, and `Cloud.revive` starts
another on the same database, while the simulated hosts live on.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TypeVar, cast
from urllib.parse import urlencode

import msgspec

from cairn.agents.protocol.machine import machine_identity
from cairn.bootstrap import Node, load_plugins
from cairn.kernel.api import AnyApi
from cairn.kernel.assembly import make_schema
from cairn.kernel.deploy.ansible import Progress
from cairn.kernel.deploy.installer import AgentInstaller, Identified
from cairn.kernel.deploy.inventory import Variable
from cairn.kernel.deploy.ssh import SshTarget
from cairn.kernel.flow.engine import FlowProbe
from cairn.kernel.ids import NodeId, RandomIds
from cairn.kernel.plugin.manifest import Loaded
from cairn.kernel.settings import Settings, load
from cairn.kernel.store.driver import Driver
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.seal import Seals
from cairn.kernel.store.store import Store, Tx
from cairn.simulator.agents import SimulatedAgents
from cairn.simulator.plugins import commands_of
from cairn.simulator.world import World, host_name, new_world
from cairn.testing.clock import VirtualClock
from cairn.testing.stores import private_store
from cairn.testing.transport import MemoryTransport

T = TypeVar("T")
Json = dict[str, object]
SEALS = Seals.ephemeral()  # of all clouds of a process, so that one can go on with what another has saved
ADMIN_PASSWORD = "correct horse battery"  # noqa: S105 (of a cloud that lives in a test)
ORIGIN = "http://simulator"
#: what is added to the seed of ids in the life after a `Saved` one
_LATER = 1_000_003
_TLS_AGENT = re.compile(r"^https://([^:/]+):\d+/")


def address(number: int) -> str:
    """The management address of a simulated host."""
    return f"10.0.0.{number}"


def _played(found: re.Match[str]) -> str:
    """Where the simulator plays the machine that is spoken to over TLS."""
    name = found.group(1)
    return f"{ORIGIN}/hosts/{host_name(int(name.rpartition('.')[2])) if name.startswith('10.0.0.') else name}/"


class Killed(BaseException):
    """The node was killed: whatever it still does ends here."""


class Refused(AssertionError):
    """The cloud answered a call with an error.

    Args:
        status: of HTTP; 200 for a job that failed.
        problem: the error's body.
    """

    def __init__(self, status: int, problem: Json) -> None:
        super().__init__(f"{status}: {problem}")
        self.status = status
        self.problem = problem

    @property
    def code(self) -> str:
        """The error's stable code."""
        return str(self.problem.get("code"))

    @property
    def detail(self) -> str:
        """The error's sentence."""
        return str(self.problem.get("detail") or self.problem.get("message"))

    @property
    def operator(self) -> str:
        """The error's text for administrators; empty where it has none, or where somebody else asks."""
        return str(self.problem.get("operator") or "")


class Life:
    """Whether a node lives, and whether it is awake."""

    def __init__(self) -> None:
        self.dead = False
        self._awake = asyncio.Event()
        self._awake.set()

    def pause(self) -> None:
        """Hold up all that the node asks of the world, as a stopped process does."""
        self._awake.clear()

    def wake(self) -> None:
        """Let it go on where it stands."""
        self._awake.set()

    async def awake(self) -> None:
        """Return once the node is awake (`Killed`)."""
        self.check()
        if not self._awake.is_set():
            await self._awake.wait()
            self.check()

    def check(self) -> None:
        """End whatever a dead node still does (`Killed`)."""
        if self.dead:
            raise Killed


class Rehearsed(Exception):
    """Ends a transaction that was only a rehearsal."""


def _rehearse(fn: Callable[[Tx], T], tx: Tx) -> T:
    fn(tx)
    raise Rehearsed


class MortalStore(Store):
    """The store as one node sees it: gone when the node is killed, whatever the node does then.

    Args:
        rehearses: each function is run twice, and what it did the first time is taken back, as in a store under load.
    """

    def __init__(self, store: Store, life: Life, *, rehearses: bool = False) -> None:
        self._inner = store
        self._life = life
        self._rehearses = rehearses
        self._on_told: Callable[[], None] = lambda: None

    @property
    def schema(self) -> Schema:
        """As of the store itself."""
        return self._inner.schema

    @property
    def driver(self) -> Driver:
        """As of the store itself."""
        return self._inner.driver

    async def write(self, fn: Callable[[Tx], T], *, own: str | None = None) -> T:
        """As of the store itself, while the node lives."""
        await self._life.awake()
        if self._rehearses:
            with suppress(Exception):
                await self._inner.write(lambda tx: _rehearse(fn, tx))
        tells = False

        def noted(tx: Tx) -> T:
            nonlocal tells
            result = fn(tx)
            tells = tx.tells
            return result

        result = await self._inner.write(noted, own=own)
        if tells:
            self._on_told()
        return result

    async def read(self, fn: Callable[[Tx], T]) -> T:
        """As of the store itself, while the node lives."""
        await self._life.awake()
        return await self._inner.read(fn)

    async def query(self, fn: Callable[[Tx], T], *, asker: str | None, seconds: float) -> T:
        """As of the store itself, while the node lives."""
        await self._life.awake()
        return await self._inner.query(fn, asker=asker, seconds=seconds)

    async def look(self, fn: Callable[[Tx], T]) -> T:
        """As of the store itself, while the node lives."""
        await self._life.awake()
        return await self._inner.look(fn)

    def on_told(self, call: Callable[[], None]) -> None:
        """As of the store itself, but only for what this node writes."""
        self._on_told = call

    def trouble(self) -> str | None:
        """As of the store itself."""
        return self._inner.trouble()

    @property
    def seals(self) -> Seals:
        """As of the store itself."""
        return self._inner.seals

    def content(self) -> bytes:
        """As of the store itself, even if the node is dead."""
        return self._inner.content()

    async def optimize(self) -> None:
        """As of the store itself, while the node lives."""
        self._life.check()
        await self._inner.optimize()

    async def close(self) -> None:
        """The database outlives its nodes."""


class StandInInstaller(AgentInstaller):
    """Machines that have their agents already."""

    def __init__(self) -> None:
        """Nothing to keep."""

    async def target(
        self, uuid: str, host: str, port: int, username: str, password: str | None, private_key: str | None
    ) -> SshTarget:
        """Where it would be reached."""
        return SshTarget(host=host, port=port, username=username, password=password)

    async def identify(self, uuid: str, target: SshTarget, fingerprint: str | None = None) -> Identified:
        """The simulated machine that plays it, with a host key that is as it should be."""
        played = _TLS_AGENT.sub(_played, f"https://{target.host}:1/").removeprefix(f"{ORIGIN}/hosts/").rstrip("/")
        return Identified(identity=machine_identity(played, ""), fingerprint=fingerprint or f"SHA256:{played}")

    async def look_again(self, playbook: Path) -> None:
        """There is nothing to put on machines."""

    def deployment(self, playbook: Path, settings: Mapping[str, Variable]) -> str:
        """Only versions count."""
        return ""

    async def install(
        self,
        playbook: Path,
        uuid: str,
        target: SshTarget,
        *,
        settings: Mapping[str, Variable] | None = None,
        on_progress: Progress | None = None,
    ) -> int:
        """Nothing to change."""
        return 0

    async def adopt(self, uuid: str, target: SshTarget) -> bool:
        """They let the cloud's own key in."""
        return True

    async def remove(self, playbook: Path, uuid: str, target: SshTarget) -> None:
        """Nothing to remove."""

    def forget(self, tx: Tx, uuid: str) -> None:
        """Nothing to forget."""


class MortalTransport:
    """Agents as one node reaches them; ``https://10.0.0.1:7070`` is the first simulated host."""

    def __init__(self, transport: MemoryTransport, life: Life) -> None:
        self._transport = transport
        self._life = life

    async def request(
        self, method: str, url: str, body: bytes | None, timeout_seconds: float, *, machine: str | None = None
    ) -> tuple[int, bytes]:
        """Send, while the node lives, and be answered, if it still does then."""
        await self._life.awake()
        url = _TLS_AGENT.sub(_played, url)
        answer = await self._transport.request(method, url, body, timeout_seconds, machine=machine)
        await self._life.awake()
        return answer

    async def aclose(self) -> None:
        """Nothing is open."""


@cache
def parts_of(disabled: str, extra: str) -> tuple[Loaded, Schema]:
    """The plugins and tables of a cloud; finding them takes longer than most tests."""
    loaded = load_plugins(load({}, plugins_disabled=disabled, plugins_extra=extra))
    return loaded, make_schema(loaded)


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """A cloud at rest, kept so that many tests can begin with it (`Cloud.save`)."""

    content: bytes  #: of the database
    world: bytes
    time: datetime
    site: dict[str, str]
    session: str


class Cloud:
    """A node and its simulated hosts."""

    def __init__(
        self, settings: Settings, store: Store, loaded: Loaded, clock: VirtualClock, world: World, seed: int
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.world = world
        self.agents = SimulatedAgents(
            world, clock, more=commands_of(one.package for one in loaded.manifests if one.name in loaded.plugins)
        )
        self.transport = MemoryTransport(self.agents.handle, clock)
        self.store = store
        self.rehearses = False
        self.node: Node
        self.site: dict[str, str] = {}
        self._loaded = loaded
        self._ids = RandomIds(seed)
        self._life = Life()
        self._session = ""
        self._before = asyncio.all_tasks()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        *,
        hosts: int = 2,
        seed: int = 1,
        probe: FlowProbe | None = None,
        settings: Mapping[str, str] | None = None,
        saved: Saved | None = None,
        rehearses: bool = False,
    ) -> AsyncIterator[Cloud]:
        """A cloud that has its admin and nothing else, or is as `saved`; ended on leaving. `rehearses`: see `MortalStore`."""
        with tempfile.TemporaryDirectory(prefix="cairn-test-") as folder:
            given = dict(settings or {})
            loaded, schema = parts_of(given.get("plugins_disabled", ""), given.get("plugins_extra", ""))
            clock = VirtualClock(saved.time) if saved else VirtualClock()
            store = await private_store(
                schema, clock, inline=True, content=saved.content if saved else None, seals=SEALS
            )
            world = msgspec.json.decode(saved.world, type=World) if saved else new_world(hosts)
            cloud = cls(cls._settings(Path(folder), given), store, loaded, clock, world, seed)
            cloud.rehearses = rehearses
            if saved:
                cloud.site, cloud._session = dict(saved.site), saved.session
                cloud._ids = RandomIds(seed + _LATER)
            await cloud.start(probe)
            try:
                yield cloud
            finally:
                await cloud.kill()
                await store.close()

    def save(self) -> Saved:
        """Keep the cloud as it is: the database, what is on the hosts, the site. It is at rest; see `quiet`."""
        return Saved(
            content=self.store.content(),
            world=msgspec.json.encode(self.world),
            time=self.clock.now(),
            site=dict(self.site),
            session=self._session,
        )

    @staticmethod
    def _settings(folder: Path, more: Mapping[str, str]) -> Settings:
        return load({}, data_dir=folder, admin_password=ADMIN_PASSWORD, **more)

    # -- the node's life --------------------------------------------------------------------------------------------

    async def start(self, probe: FlowProbe | None = None, *, node: str = "a" * 32) -> None:
        """Start a node on the database.

        Args:
            node: another id: the dead node is another's, which has to find out that it is dead.
        """
        self._life = Life()
        self.node = await Node.build(
            self.settings,
            clock=self.clock,
            ids=self._ids,
            store=MortalStore(self.store, self._life, rehearses=self.rehearses),
            agent_transport=MortalTransport(self.transport, self._life),
            node=NodeId(node),
            probe=probe,
            loaded=self._loaded,
            installer=StandInInstaller(),
            predecessor_dead=True,
        )
        await self.clock.run(self.node.start(serve=False))

    def die(self) -> None:
        """From here on the node changes nothing, in the database or on hosts. Raise `Killed` behind it; then `revive`."""
        self._life.dead = True

    async def kill(self) -> None:
        """End the node as ``kill -9`` does: from here on it changes nothing, in the database or on hosts."""
        self.die()
        me = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() - self._before if task is not me]
        for task in others:
            task.cancel()
        for task in others:
            with suppress(BaseException):
                await asyncio.wait([task], timeout=5)

    async def revive(self, probe: FlowProbe | None = None) -> None:
        """Kill the node and start another on the same database."""
        await self.kill()
        await self.start(probe)

    async def replace(self) -> None:
        """Kill the node and start another one, which takes over once the heartbeat of the dead one has stood still."""
        await self.kill()
        await self.start(node="b" * 32)

    async def quiet(self, seconds: float = 0.0) -> None:
        """Let everything that is under way go on for `seconds` of the cloud's time."""
        await self.clock.advance(seconds)

    def read_now(self, fn: Callable[[Tx], T]) -> T:
        """Look into the database, between two moments of the cloud's life."""
        work = self.store.read(fn)
        try:
            work.send(None)
        except StopIteration as ended:
            return cast("T", ended.value)
        raise AssertionError("the test's database does not answer at once")

    # -- calls --------------------------------------------------------------------------------------------------------

    async def request(
        self, verb: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Json]:
        """One HTTP request through the gateway: status and decoded body."""
        raw = b"" if body is None else msgspec.json.encode(body)
        return await self.send_raw(verb, path, raw, headers)

    async def send_raw(
        self, verb: str, path: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Json]:
        """As `request`, with a body that may be anything."""
        if not self._session and path != "/v1/accounts/login":
            await self.log_in()
        given = {"content-type": "application/json", "authorization": f"OAuth {self._session}", **(headers or {})}
        return await self.clock.run(asgi(self.node, verb, path, body, given))

    async def log_in(self, account: str = "admin", password: str = ADMIN_PASSWORD) -> None:
        """Make the calls that follow as this account."""
        body = {"logInByAccount": {"accountName": account, "password": password}}
        status, answer = await self.request("PUT", "/v1/accounts/login", body)
        if status != 200:
            raise Refused(status, answer)
        self._session = str(cast("Json", answer["inventory"])["uuid"])

    async def create_account(self, name: str, password: str) -> str:
        """Make an account; returns its uuid. As for `log_in`, no virtual time passes meanwhile."""
        if not self._session:
            await self.log_in()
        raw = msgspec.json.encode({"params": {"name": name, "password": password}})
        headers = {"content-type": "application/json", "prefer": "wait=60", "authorization": f"OAuth {self._session}"}
        status, answer = await asgi(self.node, "POST", "/v1/accounts", raw, headers)
        if status != 200:
            raise Refused(status, answer)
        return str(cast("Json", answer["inventory"])["uuid"])

    async def call(self, api: str, **fields: object) -> Json:
        """Make an API call by its name, with snake_case fields, and wait for its end.

        Returns the result: the inventory where there is one.

        Raises:
            Refused: the call or its job failed.
        """
        status, answer = await self.send(api, **fields)
        if status == 202:
            answer = await self.finish(str(answer["uuid"]))
        elif status != 200:
            raise Refused(status, answer)
        inventory = answer.get("inventory")
        return cast("Json", inventory) if isinstance(inventory, dict) else answer

    async def send(self, api: str, **fields: object) -> tuple[int, Json]:
        """Make an API call and do not wait: status and body of the first answer. `job_id` is sent as the job's id."""
        job = fields.pop("job_id", None)
        cls = self.api(api)
        wire = _wire_names(cls)
        values = {wire[name]: value for name, value in fields.items()}
        path = "/v1" + cls.http.path
        for name in [name for name in values if f"{{{name}}}" in path]:
            path = path.replace(f"{{{name}}}", str(values.pop(name)))
        headers = {"x-job-uuid": str(job)} if job else {}
        if cls.http.key is not None:
            return await self.request(cls.http.verb, path, {cls.http.key: values}, headers)
        query = f"?{urlencode(values)}" if values else ""
        return await self.request(cls.http.verb, path + query, None, headers)

    async def finish(self, job: str) -> Json:
        """Wait for a job's end; its result (`Refused` when it failed)."""
        for _ in range(200):
            status, answer = await self.request("GET", f"/v1/api-jobs/{job}?wait=60")
            if status != 200:
                raise Refused(status, answer)
            if answer["state"] == "Succeeded":
                return cast("Json", answer.get("result") or {})
            if answer["state"] in ("Failed", "Cancelled"):
                raise Refused(200, cast("Json", answer["error"]))
        raise AssertionError(f"the job {job} does not end: {answer}")

    async def query(self, entity: str, *conditions: str) -> list[Json]:
        """All resources of a kind that fit."""
        path = self.node.gateway.paths[entity]
        query = urlencode([("q", condition) for condition in conditions])
        status, answer = await self.request("GET", f"/v1{path}?{query}")
        if status != 200:
            raise Refused(status, answer)
        return cast("list[Json]", answer["inventories"])

    def apis(self) -> list[type[AnyApi]]:
        """All API calls that there are."""
        return [api for manifest in self._loaded.manifests for api in manifest.api]

    def api(self, name: str) -> type[AnyApi]:
        """The API call of that name."""
        for api in self.apis():
            if api.__name__ == name:
                return api
        raise AssertionError(f"there is no API {name}")

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Calls are accepted and none begins, until this is left; if it is never left, as if the node died right then."""
        jobs = self.node.context.jobs
        jobs._dispatch = lambda: None  # type: ignore[method-assign]
        try:
            yield
        finally:
            del jobs._dispatch
            jobs.changed()

    # -- a site ---------------------------------------------------------------------------------------------------------

    async def make_site(self, *, hosts: int | None = None) -> dict[str, str]:
        """A zone with everything that a VM needs, on simulated hosts; returns uuids by name, also in `site`."""
        zone = await self._make("zone", "CreateZone", name="zone")
        cluster = await self._make(
            "cluster", "CreateCluster", name="cluster", zone_uuid=zone, hypervisor_type="Simulator"
        )
        storage = await self._make(
            "storage", "AddLocalPrimaryStorage", name="local", zone_uuid=zone, url="/var/lib/cairn-storage"
        )
        await self.call("AttachPrimaryStorageToCluster", cluster_uuid=cluster, primary_storage_uuid=storage)
        count = len(self.world.hosts) - 1 if hosts is None else hosts
        for number in range(1, count + 1):
            name = host_name(number)
            await self._make(
                f"host-{number}",
                "AddSimulatorHost",
                name=name,
                management_ip=address(number),
                cluster_uuid=cluster,
                url=f"{ORIGIN}/hosts/{name}",
            )
        backup = await self._make("backup", "AddSimulatorBackupStorage", name="backup", url=f"{ORIGIN}/hosts/backup")
        await self.call("AttachBackupStorageToZone", zone_uuid=zone, backup_storage_uuid=backup)
        await self._make(
            "image",
            "AddImage",
            name="tiny",
            url="http://images/tiny.qcow2",
            format="qcow2",
            backup_storage_uuids=[backup],
        )
        l2 = await self._make("l2", "CreateL2VxlanNetwork", name="l2", zone_uuid=zone, vni=1001)
        await self.call("AttachL2NetworkToCluster", l2_network_uuid=l2, cluster_uuid=cluster)
        l3 = await self._make("l3", "CreateL3Network", name="flat", l2_network_uuid=l2)
        await self.call(
            "AddIpRange",
            l3_network_uuid=l3,
            name="range",
            start_ip="10.89.0.10",
            end_ip="10.89.255.250",
            netmask="255.255.0.0",
            gateway="10.89.0.1",
        )
        return self.site

    async def _make(self, key: str, api: str, **fields: object) -> str:
        made = await self.call(api, **fields)
        self.site[key] = str(made["uuid"])
        return self.site[key]

    def vm_fields(self, name: str, **fields: object) -> dict[str, object]:
        """What a small VM on the site is created with."""
        return {
            "name": name,
            "image_uuid": self.site["image"],
            "l3_network_uuids": [self.site["l3"]],
            "cpu_num": 1,
            "memory_size": 128 << 20,
            **fields,
        }

    async def create_vm(self, name: str, **fields: object) -> Json:
        """A small VM on the site."""
        return await self.call("CreateVmInstance", **self.vm_fields(name, **fields))


async def asgi(
    node: Node, verb: str, path: str, body: bytes, headers: Mapping[str, str], *, address: str = "127.0.0.1"
) -> tuple[int, Json]:
    """Call the gateway as its HTTP server would, from an address."""
    target, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": verb,
        "path": target,
        "raw_path": target.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": (address, 1),
        "server": ("127.0.0.1", 8080),
        "scheme": "http",
        "http_version": "1.1",
        "root_path": "",
        "state": {},
    }
    given = [{"type": "http.request", "body": body, "more_body": False}]
    status = 0
    chunks: list[bytes] = []

    async def receive() -> dict[str, object]:
        if given:
            return given.pop()
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(message: Mapping[str, object]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = cast("int", message["status"])
        else:
            chunks.append(cast("bytes", message.get("body", b"")))

    await node.gateway(scope, receive, send)
    text = b"".join(chunks)
    return status, cast("Json", msgspec.json.decode(text)) if text else {}


@cache
def _wire_names(api: type[AnyApi]) -> dict[str, str]:
    """The names of a message's fields on the wire. msgspec reads the annotations again each time that it is asked."""
    return {field.name: field.encode_name for field in msgspec.structs.fields(api)}
