"""Calls to the agents of one kind of machine: their addresses, which of them are lost, and their queues."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from cairn.agents.protocol.wire import AgentCommand, Pong, Result
from cairn.kernel.agent.client import TIMEOUT, UNREACHABLE, AgentClient, AgentEndpoint
from cairn.kernel.bus.context import current
from cairn.kernel.config import GlobalConfig
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.machine.agents import MachineAgents
from cairn.kernel.machine.kind import AnyKind
from cairn.kernel.machine.model import Machine, MachineStatus
from cairn.kernel.queue import ResourceQueues
from cairn.kernel.store.store import Store, Tx

R = TypeVar("R", bound=Result)
#: how many more calls there may be at a time if they leave the machine idle
_IDLE_FACTOR = 10


class MachineClient(MachineAgents[str]):
    """Calls the agents of one kind. Endpoints are kept in memory and forgotten when a machine changes."""

    def __init__(
        self, kind: AnyKind, store: Store, agents: AgentClient, queues: ResourceQueues, settings: GlobalConfig
    ) -> None:
        self.kind = kind
        self._store = store
        self._agents = agents
        self._queues = queues
        self._settings = settings
        self._suspect: Callable[[str, str], None] = lambda uuid, reason: None
        self._endpoints: dict[str, AgentEndpoint] = {}
        self._lost: dict[str, str] = {}
        self._connected: Callable[[str], None] = lambda uuid: None

    async def start(self, suspect: Callable[[str, str], None], connected: Callable[[str], None]) -> None:
        """Read which machines are lost.

        Args:
            suspect: called for a machine that does not answer, with the reason.
            connected: called for a machine whose agent was connected.
        """
        self._suspect, self._connected = suspect, connected
        rows: list[Machine] = await self._store.read(
            lambda tx: tx.find(self.kind.record, status=MachineStatus.DISCONNECTED)
        )
        for row in rows:
            self._lost[row.uuid] = row.status_reason or "it was lost before this node started"

    async def call(
        self, uuid: str, command: AgentCommand[R], *, timeout_seconds: float | None = None, idle: bool = False
    ) -> R:
        """Have the machine's agent do something: see `MachineAgents.call`."""
        endpoint = await self._endpoint(uuid)
        reason = self._lost.get(uuid)
        if reason is not None:
            raise CairnError(
                f"{self.kind.noun}.disconnected",
                f"The {self.kind.title} at {endpoint.address} is not connected ({reason}). It is tried again from time "
                "to time; when it is back, repeat the call.",
                kind=ErrorKind.UNAVAILABLE,
                details={"uuid": uuid},
            )
        settings = self.kind.settings
        seconds = timeout_seconds or float(self._settings.get(settings.command_timeout))

        async def work() -> R:
            return await self._agents.call(endpoint, command, timeout_seconds=seconds, job=current().job)

        key, factor = (f"{self.kind.noun}-idle:{uuid}", _IDLE_FACTOR) if idle else (f"{self.kind.noun}:{uuid}", 1)
        try:
            return await self._queues.run(
                key,
                work,
                name=command.name,
                parallelism=lambda: factor * self._settings.get(settings.parallelism),
            )
        except CairnError as error:
            if error.code in (UNREACHABLE, TIMEOUT):
                self._suspect(uuid, error.message)
            raise

    async def connect(self, uuid: str, command: AgentCommand[R]) -> tuple[R, str]:
        """The one call that is made to a machine that is not connected. Returns the answer and the agent's boot id."""
        endpoint = await self._endpoint(uuid)
        answer = await self._agents.call(endpoint, command, timeout_seconds=60.0, job=current().job)
        self._lost.pop(uuid, None)
        boot = (await self.ping(uuid, timeout_seconds=10.0)).boot
        self._connected(uuid)
        return answer, boot

    async def ping(self, uuid: str, *, timeout_seconds: float) -> Pong:
        """Ask the agent for its identity, without a turn in the queue."""
        return await self._agents.ping(await self._endpoint(uuid), timeout_seconds=timeout_seconds)

    def lost(self, uuid: str, reason: str) -> None:
        """Note that the machine does not answer: calls fail at once until it is connected again."""
        self._lost[uuid] = reason

    def forget(self, uuid: str) -> None:
        """Look the address up again at the next call."""
        self._endpoints.pop(uuid, None)

    def erased(self, uuid: str) -> None:
        """Forget a machine that was removed from the cloud."""
        self._endpoints.pop(uuid, None)
        self._lost.pop(uuid, None)

    async def _endpoint(self, uuid: str) -> AgentEndpoint:
        known = self._endpoints.get(uuid)
        if known is not None:
            return known

        def fn(tx: Tx) -> AgentEndpoint:
            return self.kind.driver(self.kind.existing(tx, uuid)).endpoint(tx, uuid)

        endpoint = self._endpoints[uuid] = await self._store.look(fn)
        return endpoint
