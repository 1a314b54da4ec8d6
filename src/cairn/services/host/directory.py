"""The way to each host's agent: where it is, whether it may be called, and its queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from cairn.agents.protocol.host import Connect, HostFacts
from cairn.agents.protocol.wire import AgentCommand, Pong, Result
from cairn.kernel.agent.client import AgentClient, AgentEndpoint
from cairn.kernel.bus.context import current
from cairn.kernel.config import GlobalConfig
from cairn.kernel.error import CairnError, ErrorKind, not_found
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.queue import ResourceQueues
from cairn.kernel.store.store import Store, Tx
from cairn.services.host import config
from cairn.services.host.extensions import Hypervisor
from cairn.services.host.model import Host, HostStatus

R = TypeVar("R", bound=Result)


class HostDirectory:
    """Calls hosts' agents; implements `HostAgents`.

    Endpoints are kept in memory and forgotten when the host changes.
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

    async def host(self, host: str) -> Host:
        """The host's row (``host.not-found``)."""
        row = await self._store.look(lambda tx: tx.get(Host, host))
        if row is None:
            raise not_found("host", "uuid", host)
        return row

    async def call(self, host: str, command: AgentCommand[R], *, timeout_seconds: float | None = None) -> R:
        """Have the host's agent do something, in the host's queue.

        Raises:
            CairnError: ``host.not-found``; ``host.disconnected`` at once for a host that is known to be lost;
                ``agent.unreachable``; or what the agent answers.
        """
        endpoint = await self._endpoint(host)
        reason = self._lost.get(host)
        if reason is not None:
            raise CairnError(
                "host.disconnected",
                f"The host at {endpoint.address} is not connected ({reason}). It is tried again from time to time; "
                "when it is back, repeat the call.",
                kind=ErrorKind.UNAVAILABLE,
                details={"host": host},
            )
        seconds = timeout_seconds or float(self._settings.get(config.COMMAND_TIMEOUT))

        async def work() -> R:
            return await self._agents.call(endpoint, command, timeout_seconds=seconds, job=current().job)

        try:
            return await self._queues.run(
                f"host:{host}", work, name=command.name, parallelism=lambda: self._settings.get(config.PARALLELISM)
            )
        except CairnError as error:
            if error.code in ("agent.unreachable", "agent.timeout"):
                self._suspect(host, error.message)
            raise

    async def connect(self, host: str, command: Connect) -> HostFacts:
        """The one call that is made to a host that is not connected."""
        endpoint = await self._endpoint(host)
        facts = await self._agents.call(endpoint, command, timeout_seconds=60.0, job=current().job)
        self._lost.pop(host, None)
        return facts

    async def ping(self, host: str, *, timeout_seconds: float) -> Pong:
        """Ask the agent who it is and what runs there; beside the queue."""
        return await self._agents.ping(await self._endpoint(host), timeout_seconds=timeout_seconds)

    def lost(self, host: str, reason: str) -> None:
        """The host does not answer: calls to it fail at once until it is connected again."""
        self._lost[host] = reason

    def forget(self, host: str) -> None:
        """Look the host's address up again at the next call."""
        self._endpoints.pop(host, None)

    async def start(self) -> None:
        """Know which hosts are lost."""
        rows = await self._store.read(lambda tx: tx.find(Host, status=HostStatus.DISCONNECTED))
        for row in rows:
            self._lost[row.uuid] = row.status_reason or "it was lost before this node started"

    async def _endpoint(self, host: str) -> AgentEndpoint:
        known = self._endpoints.get(host)
        if known is not None:
            return known

        def fn(tx: Tx) -> AgentEndpoint:
            row = tx.get(Host, host)
            if row is None:
                raise not_found("host", "uuid", host)
            return self._extensions.named(Hypervisor, row.hypervisor_type).endpoint(tx, host)

        endpoint = self._endpoints[host] = await self._store.look(fn)
        return endpoint
