"""The way to each backup storage's agent: where it is, whether it may be called, and its queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from cairn.agents.protocol.wire import AgentCommand, Pong, Result
from cairn.kernel.agent.client import AgentClient, AgentEndpoint
from cairn.kernel.bus.context import current
from cairn.kernel.config import GlobalConfig
from cairn.kernel.error import CairnError, ErrorKind, not_found
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.queue import ResourceQueues
from cairn.kernel.store.store import Store, Tx
from cairn.services.backup_storage import config
from cairn.services.backup_storage.extensions import BackupStorageDriver
from cairn.services.backup_storage.model import BackupStorage, BackupStorageStatus

R = TypeVar("R", bound=Result)


class BackupStorageDirectory:
    """Calls backup storages' agents; implements `BackupStorageAgents`.

    Endpoints are kept in memory and forgotten when a backup storage changes.
    """

    def __init__(
        self,
        store: Store,
        agents: AgentClient,
        queues: ResourceQueues,
        settings: GlobalConfig,
        extensions: Extensions,
        suspect: Callable[[str, str], None],
    ) -> None:
        self._store = store
        self._agents = agents
        self._queues = queues
        self._settings = settings
        self._extensions = extensions
        self._suspect = suspect
        self._endpoints: dict[str, AgentEndpoint] = {}
        self._lost: dict[str, str] = {}

    async def storage(self, storage: str) -> BackupStorage:
        """The row (``backup-storage.not-found``)."""
        row = await self._store.read(lambda tx: tx.get(BackupStorage, storage))
        if row is None:
            raise not_found("backup-storage", "uuid", storage)
        return row

    async def driver(self, storage: str) -> BackupStorageDriver:
        """The driver of its type (``backup-storage.not-found``, ``plugin.no-extension``)."""
        return self._extensions.named(BackupStorageDriver, (await self.storage(storage)).type)

    async def call(self, storage: str, command: AgentCommand[R], *, timeout_seconds: float | None = None) -> R:
        """Have the agent do something, in the backup storage's queue; see `BackupStorageAgents.call`."""
        endpoint = await self._endpoint(storage)
        reason = self._lost.get(storage)
        if reason is not None:
            raise CairnError(
                "backup-storage.disconnected",
                f"The backup storage at {endpoint.address} is not connected ({reason}). It is tried again from time to "
                "time; when it is back, repeat the call.",
                kind=ErrorKind.UNAVAILABLE,
                details={"backupStorage": storage},
            )
        seconds = timeout_seconds or float(self._settings.get(config.COMMAND_TIMEOUT))

        async def work() -> R:
            return await self._agents.call(endpoint, command, timeout_seconds=seconds, job=current().job)

        try:
            return await self._queues.run(
                f"backup-storage:{storage}",
                work,
                name=command.name,
                parallelism=lambda: self._settings.get(config.PARALLELISM),
            )
        except CairnError as error:
            if error.code in ("agent.unreachable", "agent.timeout"):
                self._suspect(storage, error.message)
            raise

    async def connect(self, storage: str, command: AgentCommand[R]) -> R:
        """The one call that is made to a backup storage that is not connected."""
        answer = await self._agents.call(
            await self._endpoint(storage), command, timeout_seconds=60.0, job=current().job
        )
        self._lost.pop(storage, None)
        return answer

    async def ping(self, storage: str, *, timeout_seconds: float) -> Pong:
        """Ask the agent who it is; beside the queue."""
        return await self._agents.ping(await self._endpoint(storage), timeout_seconds=timeout_seconds)

    def lost(self, storage: str, reason: str) -> None:
        """It does not answer: calls fail at once until it is connected again."""
        self._lost[storage] = reason

    def forget(self, storage: str) -> None:
        """Look the address up again at the next call."""
        self._endpoints.pop(storage, None)

    def erased(self, storage: str) -> None:
        """It is gone for good."""
        self._endpoints.pop(storage, None)
        self._lost.pop(storage, None)

    async def start(self) -> None:
        """Know which ones are lost."""
        rows = await self._store.read(lambda tx: tx.find(BackupStorage, status=BackupStorageStatus.DISCONNECTED))
        for row in rows:
            self._lost[row.uuid] = row.status_reason or "it was lost before this node started"

    async def _endpoint(self, storage: str) -> AgentEndpoint:
        known = self._endpoints.get(storage)
        if known is not None:
            return known

        def fn(tx: Tx) -> AgentEndpoint:
            row = tx.get(BackupStorage, storage)
            if row is None:
                raise not_found("backup-storage", "uuid", storage)
            return self._extensions.named(BackupStorageDriver, row.type).endpoint(tx, storage)

        endpoint = self._endpoints[storage] = await self._store.read(fn)
        return endpoint
