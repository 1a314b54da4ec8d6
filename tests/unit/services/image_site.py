"""Backup storage and images on a real kernel: memory store, virtual clock, simulated agents without sockets."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import ClassVar, TypeVar, cast

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from msgspec import Struct

from cairn.agents.protocol.machine import machine_identity
from cairn.kernel.admission import check_call
from cairn.kernel.agent.client import AgentClient, AgentEndpoint
from cairn.kernel.api import ApiCommand, ApiCreate, Http, post
from cairn.kernel.bus.context import CallContext, entered
from cairn.kernel.bus.message import Command
from cairn.kernel.deploy.ansible import Progress
from cairn.kernel.deploy.installer import AgentInstaller, Identified
from cairn.kernel.deploy.inventory import Variable
from cairn.kernel.deploy.ssh import SshTarget
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.event import EventRow
from cairn.kernel.flow.journal import FlowRun
from cairn.kernel.flow.step import TransactionStep
from cairn.kernel.flow.workflow import WorkflowSource, workflow
from cairn.kernel.ids import RandomIds
from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.kernel.resource import write
from cairn.kernel.store.record import Record
from cairn.kernel.store.store import Tx
from cairn.services.backup_storage.extensions import BackupStorageDriver
from cairn.services.backup_storage.manifest import MANIFEST as BACKUP_STORAGE
from cairn.services.backup_storage.messages import AddBackupStorage
from cairn.services.backup_storage.model import BackupStorage
from cairn.services.ids import BackupStorageId, ZoneId
from cairn.services.image.extensions import ImageCaches
from cairn.services.image.manifest import MANIFEST as IMAGE
from cairn.services.image.messages import AddImage
from cairn.services.image.model import Image, ImageBackupStorageRef
from cairn.services.zone.manifest import MANIFEST as ZONE_SERVICE
from cairn.services.zone.model import Zone
from cairn.simulator.agents import SimulatedAgents
from cairn.simulator.world import SimHost, new_world
from cairn.testing.clock import VirtualClock
from cairn.testing.rig import small_context, stop
from cairn.testing.transport import MemoryTransport

R = TypeVar("R")
S = TypeVar("S", bound=Struct)
T = TypeVar("T", bound=Record)
ORIGIN = "http://simulator"
PAPER = "PaperBackupStorage"
ACCOUNT = "acc0" * 8
ZONE = ZoneId("200e" * 8)
GOOD = "http://images/tiny.qcow2"
_TLS_AGENT = re.compile(r"^https://([^:/]+):\d+")


class _Transport(MemoryTransport):
    """Hands TLS agents at ``https://NAME:PORT`` to the simulated host of that name."""

    async def request(
        self, method: str, url: str, body: bytes | None, timeout_seconds: float, *, machine: str | None = None
    ) -> tuple[int, bytes]:
        url = _TLS_AGENT.sub(rf"{ORIGIN}/hosts/\1", url)
        return await super().request(method, url, body, timeout_seconds, machine=machine)


class PaperDriver(BackupStorageDriver):
    """A kind of backup storage without anything to deploy."""

    def __init__(self) -> None:
        self.hosts: dict[str, str] = {}  #: storage -> simulated host
        self.deployed: list[str] = []
        self.taken_off: list[str] = []
        self.forgotten: list[str] = []
        self.refuse: CairnError | None = None
        self.lasts_seconds = 0.0
        self.sleep: Callable[[float], Awaitable[None]]

    def added(self, tx: Tx, uuid: str, asked: ApiCreate) -> None:
        """Nothing more is known of it."""

    def endpoint(self, tx: Tx, uuid: str) -> AgentEndpoint:
        return AgentEndpoint(f"{ORIGIN}/hosts/{self.hosts[uuid]}")

    def image_url(self, tx: Tx, storage: str, path: str) -> str:
        return f"{ORIGIN}/hosts/{self.hosts[storage]}/v1/images{path}"

    async def look_again(self) -> None:
        """Nothing changes."""

    async def deploy(self, uuid: str) -> None:
        self.deployed.append(uuid)
        if self.lasts_seconds:
            await self.sleep(self.lasts_seconds)
        if self.refuse is not None:
            raise self.refuse

    async def remove(self, uuid: str) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.taken_off.append(uuid)

    def removed(self, tx: Tx, uuid: str) -> None:
        tx.after_commit(lambda: self.forgotten.append(uuid))


class PaperInstaller(AgentInstaller):
    """Notes what it is to install where; machines have their agents already."""

    def __init__(self) -> None:
        self.installed: list[tuple[str, str, SshTarget, dict[str, Variable]]] = []
        self.taken_off: list[tuple[str, str]] = []
        self.forgotten: list[str] = []
        self.keys: dict[str, str | None] = {}
        self.refuse: CairnError | None = None
        self.adopting: Callable[[], Awaitable[bool]] | None = None

    async def target(
        self, uuid: str, host: str, port: int, username: str, password: str | None, private_key: str | None
    ) -> SshTarget:
        self.keys[uuid] = private_key
        return SshTarget(host=host, port=port, username=username, password=password)

    async def identify(self, uuid: str, target: SshTarget, fingerprint: str | None = None) -> Identified:
        if self.refuse is not None:
            raise self.refuse
        return Identified(identity=machine_identity(target.host, ""), fingerprint=fingerprint or "SHA256:seen")

    async def look_again(self, playbook: Path) -> None:
        """Nothing changes."""

    async def adopt(self, uuid: str, target: SshTarget) -> bool:
        return self.adopting is not None and await self.adopting()

    def deployment(self, playbook: Path, settings: Mapping[str, Variable]) -> str:
        return ""

    async def install(
        self,
        playbook: Path,
        uuid: str,
        target: SshTarget,
        *,
        settings: object = None,
        on_progress: Progress | None = None,
    ) -> int:
        assert playbook.is_file()  # noqa: ASYNC240 (a test)
        if on_progress is not None:
            on_progress("Install the agent", 50)
        if self.refuse is not None:
            raise self.refuse
        self.installed.append((playbook.name, uuid, target, cast("dict[str, Variable]", settings)))
        return 1

    async def remove(self, playbook: Path, uuid: str, target: SshTarget) -> None:
        assert playbook.is_file()  # noqa: ASYNC240 (a test)
        self.taken_off.append((playbook.name, uuid))
        self.forgotten.append(uuid)

    def forget(self, tx: Tx, uuid: str) -> None:
        tx.after_commit(lambda: self.forgotten.append(uuid))


class AddPaper(AddBackupStorage, frozen=True, kw_only=True, tag="paper.add"):
    """Add a backup storage, as a plugin adds its kind."""

    http: ClassVar[Http] = post("/backup-storage/paper")
    storage_type: ClassVar[str] = PAPER

    url: str

    @property
    def folder(self) -> str:
        return self.url


ADD = workflow(AddPaper, queue="backup-storage")
_ADD_STEPS = """
[workflow."paper.add"]
steps = [
  "backup-storage.record",
  "machine.identify",
  "machine.record-identity",
  "machine.deploy",
  "backup-storage.connect",
  "backup-storage.finish-connect",
]
"""


class Site:
    """A node with the two services and any plugins, over simulated agents."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.ids = RandomIds(seed=1)
        self.world = new_world(3)
        self.agents = SimulatedAgents(self.world, self.clock)
        self.transport = _Transport(self.agents.handle, self.clock)
        self.driver = PaperDriver()
        self.driver.sleep = self.clock.sleep
        self.installer = PaperInstaller()
        self.dropped: list[str] = []  #: images whose caches were dropped
        self.refuse_drop: CairnError | None = None
        self.context: NodeContext

    async def start(self, plugins: Sequence[Manifest] = (), sources: Sequence[str] = ()) -> Site:
        """Build services as a node does. `sources`: further workflow files."""
        stand_ins = Manifest(package=__name__, doc="A kind of backup storage of paper.", build=self._build)
        more = [WorkflowSource(name="test", text=text) for text in (_ADD_STEPS, *sources)]
        self.context = await small_context(
            [ZONE_SERVICE, BACKUP_STORAGE, stand_ins, IMAGE, *plugins],
            self.clock,
            self.ids,
            agents=AgentClient(self.transport, self.clock, self.ids, None),
            installer=self.installer,
            sources=more,
        )
        await self.context.store.write(
            lambda tx: write(tx, Zone(uuid=ZONE, name="zone", create_date=tx.now, last_op_date=tx.now))
        )
        return self

    def _build(self, node: NodeContext) -> None:
        node.extensions.provide(BackupStorageDriver, self.driver, name=PAPER)
        node.extensions.provide(ImageCaches, self, name="site")

    async def watch(self) -> None:
        """Start the monitors; the first round is over afterwards."""
        await self.context.start_background()
        await self.clock.settle()

    async def stop(self) -> None:
        await stop(self.context)

    # -- short cuts -----------------------------------------------------------------------------------------------

    async def call(self, message: Command[R]) -> R:
        """A call by an account, refused as the gateway refuses it; time passes where it has to."""
        if isinstance(message, ApiCommand):
            check_call(message, self.context.tags)

        async def work() -> R:
            with entered(CallContext(job=None, stack=(), deadline=None, actor=ACCOUNT)):
                return await self.context.bus.call(message)

        return await self.clock.run(work())

    async def refused(self, message: Command[R], code: str) -> CairnError:
        """A call that must fail with `code`."""
        try:
            answer = await self.call(message)
        except CairnError as error:
            assert error.code == code, str(error)
            return error
        raise AssertionError(f"expected {code}, got {answer}")

    async def add_storage(
        self, name: str = "store", host: str = "backup", url: str = "/var/lib/cairn-backup"
    ) -> BackupStorageId:
        """A backup storage of paper, played by a simulated host."""
        uuid = BackupStorageId(self.ids.new())
        self.driver.hosts[uuid] = host
        await self.call(AddPaper(resource_uuid=uuid, name=name, url=url, user_tags=["shelf"]))
        return uuid

    def image(self, *storages: str, **fields: object) -> AddImage:
        """The call that adds an image."""
        given = {
            "resource_uuid": self.ids.new(),
            "name": "tiny",
            "url": GOOD,
            "backup_storage_uuids": list(storages),
        }
        return AddImage(**{**given, **fields})  # type: ignore[arg-type]

    async def add_image(self, *storages: str, **fields: object) -> str:
        return (await self.call(self.image(*storages, **fields))).uuid

    async def row(self, kind: type[T], uuid: str) -> T:
        found = await self.context.store.read(lambda tx: tx.get(kind, uuid))
        assert found is not None
        return found

    async def rows(self, kind: type[T], **equal: str) -> list[T]:
        return await self.context.store.read(
            lambda tx: tx.find(kind, order_by=None, descending=False, limit=None, lock=False, **equal)
        )

    async def storage(self, uuid: str) -> BackupStorage:
        return await self.row(BackupStorage, uuid)

    async def refs(self, image: str) -> dict[str, tuple[str, bool]]:
        """Copies of an image: storage -> status and whether it is given up."""
        found = await self.rows(ImageBackupStorageRef, image_uuid=image)
        return {ref.backup_storage_uuid: (ref.status.value, ref.given_up) for ref in found}

    async def gone(self) -> bool:
        """Whether no image, copy or tag of one is left, and nothing is under way."""
        counts = [len(await self.rows(kind)) for kind in (Image, ImageBackupStorageRef, FlowRun)]
        return counts == [0, 0, 0]

    async def events(self) -> list[str]:
        rows = await self.rows(EventRow, name="image.status-changed")
        return [str(row.content.get("status")) for row in sorted(rows, key=lambda row: row.sequence)]

    async def warnings(self) -> list[str]:
        """What was told of agents that are not as they should be."""
        return [str(row.content["warning"]) for row in await self.rows(EventRow, name="machine.agent-warned")]

    async def shown(self, entity: str, uuid: str) -> dict[str, object]:
        """What the API shows of a resource."""
        found = await self.context.query.get(entity, uuid)
        assert found is not None
        return dict(found)

    async def set(self, category: str, name: str, text: str) -> None:
        """Change a setting."""
        await self.context.store.write(lambda tx: self.context.config.set(tx, category, name, text))

    def host(self, name: str = "backup") -> SimHost:
        return self.world.hosts[name]

    def kill(self, host: str = "backup") -> None:
        self.transport.dead.add(f"{ORIGIN}/hosts/{host}/")

    def mend(self, host: str = "backup") -> None:
        self.transport.dead.discard(f"{ORIGIN}/hosts/{host}/")

    async def transact(self, name: str, given: S) -> Struct:
        """Run a transaction step by itself."""
        step = self.context.flows.book.step(name)
        assert isinstance(step, TransactionStep)
        return cast("Struct", await self.context.store.write(lambda tx: step.do(tx, given)))

    async def drop(self, image_uuid: str) -> None:
        """Drop an image's caches; implements `ImageCaches`."""
        if self.refuse_drop is not None:
            raise self.refuse_drop
        self.dropped.append(image_uuid)


@cache
def private_key(passphrase: str = "") -> str:
    """A private key as ssh-keygen makes it."""
    secret = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    key = ed25519.Ed25519PrivateKey.generate()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, secret).decode()


def trouble(code: str = "ssh.unreachable") -> CairnError:
    return CairnError(code, "No SSH server can be reached there.", kind=ErrorKind.UNAVAILABLE)
