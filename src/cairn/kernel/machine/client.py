"""Calls to the agents of one kind of machine: their addresses, which of them are lost, and their queues."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import metadata
from typing import Final, TypeVar

from msgspec import Struct

from cairn.agents.protocol.codes import STALE_EPOCH, UNKNOWN_COMMAND
from cairn.agents.protocol.fence import Fence
from cairn.agents.protocol.wire import PROTOCOL_VERSION, AgentCommand, Pong, Result
from cairn.kernel.agent.client import TIMEOUT, UNREACHABLE, AgentClient, AgentEndpoint
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.context import current
from cairn.kernel.clock import Clock
from cairn.kernel.config import GlobalConfig
from cairn.kernel.deploy.wheels import DISTRIBUTION
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.invalidation import Keys
from cairn.kernel.machine.agents import MachineAgents
from cairn.kernel.machine.calls import answer_of, packed
from cairn.kernel.machine.identity import check_identity
from cairn.kernel.machine.kind import AnyKind
from cairn.kernel.machine.model import AgentSeen, Machine, MachineStatus
from cairn.kernel.queue import ResourceQueues
from cairn.kernel.store.store import Store, Tx

R = TypeVar("R", bound=Result)
#: a machine's clock may be that far off before somebody is warned
_SKEW_SECONDS: Final = 60.0
#: within so many seconds a node knows of a new list of members, if it is one of them
_MOVED_SECONDS: Final = 2.0
#: how many more calls there may be at a time if they leave the machine idle
_IDLE_FACTOR = 10
#: machines that are read again in one look
_AT_A_TIME: Final = 1000


class _Agent(Struct, frozen=True):
    """What is known of a machine's agent without asking it."""

    endpoint: AgentEndpoint
    protocol: int  #: that it spoke when it was connected last; 0: it was not asked
    deployment: str  #: the name of what is to be there; empty: only the version counts


class AgentCertificate(Struct, frozen=True):
    """What an agent tells of its certificate."""

    ends: float  #: seconds since the epoch; 0: it has none
    issuer: str = ""  #: the root that signed it
    trust: str = ""  #: the digest of the roots that the agent trusts


class Examined(Struct, frozen=True, kw_only=True):
    """What was found where a machine's agent should be."""

    pong: Pong | None = None  #: its answer
    error: CairnError | None = None  #: why there is none
    outdated: str | None = None  #: in which way it is not the agent that should be there, as the end of "its agent ..."

    @property
    def usable(self) -> bool:
        """Whether it can be given commands as it is."""
        return self.pong is not None and self.pong.protocol == PROTOCOL_VERSION


class MachineClient(MachineAgents[str]):
    """Calls the agents of one kind.

    Endpoints, and which machines are lost, are kept in memory; they are read again when a machine has changed, on whichever
    node.
    """

    def __init__(
        self,
        kind: AnyKind,
        bus: Bus,
        store: Store,
        agents: AgentClient,
        queues: ResourceQueues,
        settings: GlobalConfig,
        clock: Clock,
    ) -> None:
        self.kind = kind
        self._bus = bus
        self._store = store
        self._agents = agents
        self._queues = queues
        self._settings = settings
        self._clock = clock
        self._version = metadata.version(DISTRIBUTION)
        self._suspect: Callable[[str, str], None] = lambda uuid, reason: None
        self._pinged: Callable[[str, Pong, str | None], None] = lambda uuid, pong, outdated: None
        self._known: dict[str, _Agent] = {}
        self._lost: dict[str, str] = {}
        self._own: dict[str, Fence] = {}  #: the machines' own fences
        self._drops = 0  #: how often something was forgotten: what was being read then is not kept
        self._connected: Callable[[str], None] = lambda uuid: None
        #: the certificates that agents show, and the roots that they trust, as heard at their last pings
        self.shown: dict[str, AgentCertificate] = {}

    def tell(self, pinged: Callable[[str, Pong, str | None], None]) -> None:
        """Have `pinged` told of each answered ping: the machine, the answer, and how its agent is outdated."""
        self._pinged = pinged

    async def start(self, suspect: Callable[[str, str], None], connected: Callable[[str], None]) -> None:
        """Read which machines are lost.

        Args:
            suspect: called for a machine that does not answer, with the reason.
            connected: called for a machine whose agent was connected.
        """
        self._suspect, self._connected = suspect, connected
        await self.reread(None)

    async def reread(self, keys: Keys) -> None:
        """Forget the addresses of machines that have changed, and read again which of them are lost."""
        self._drops += 1
        if keys is None:
            self._known.clear()
            self._lost = {row.uuid: _why_lost(row) for row in await self._store.read(self._all_lost)}
            return
        those = list(keys)
        for uuid in those:
            self._known.pop(uuid, None)
        for at in range(0, len(those), _AT_A_TIME):
            self._note(await self._store.read(partial(self._some, those[at : at + _AT_A_TIME])))

    def _all_lost(self, tx: Tx) -> list[Machine]:
        return list(tx.find(self.kind.record, status=MachineStatus.DISCONNECTED))

    def _some(self, uuids: list[str], tx: Tx) -> dict[str, Machine | None]:
        found: dict[str, Machine] = {row.uuid: row for row in tx.find(self.kind.record, uuid=uuids)}
        return {uuid: found.get(uuid) for uuid in uuids}

    def _note(self, rows: Mapping[str, Machine | None]) -> None:
        for uuid, row in rows.items():
            if row is None:
                self.erased(uuid)
            elif row.status is MachineStatus.DISCONNECTED:
                self._lost[uuid] = _why_lost(row)
            elif row.status is MachineStatus.CONNECTED and self._lost.pop(uuid, None) is not None:
                self._connected(uuid)

    async def call(
        self, uuid: str, command: AgentCommand[R], *, timeout_seconds: float | None = None, idle: bool = False
    ) -> R:
        """Have the machine's agent do something, on the node that the machine belongs to: see `MachineAgents.call`."""
        entity = self.kind.record.meta.entity or ""
        message = partial(packed, entity, uuid, command, timeout_seconds=timeout_seconds, idle=idle)
        if not self._bus.owns(uuid):
            return answer_of(command, await self._bus.call(message()))
        known = await self._agent(uuid)
        endpoint = known.endpoint
        reason = self._lost.get(uuid)
        if reason is not None:
            raise CairnError(
                f"{self.kind.noun}.disconnected",
                f"The {self.kind.title} is not connected. It is tried again from time to time; when it is back, repeat "
                "the call.",
                kind=ErrorKind.UNAVAILABLE,
                details={"uuid": uuid},
                operator=f"At {endpoint.address}: {reason}",
            )
        if known.protocol not in (0, PROTOCOL_VERSION):
            raise self._incompatible(endpoint, known.protocol)
        settings = self.kind.settings
        seconds = timeout_seconds or float(self._settings.get(settings.command_timeout))

        async def work() -> R:
            own, context = self._own_fence(uuid), current()
            if own is None:  # not any more
                return answer_of(command, await self._bus.call(message()))
            fences = (own,) if context.fence is None else (own, context.fence)
            return await self._agents.call(endpoint, command, timeout_seconds=seconds, job=context.job, fences=fences)

        factor = _IDLE_FACTOR if idle else 1
        try:
            return await self._queues.run(
                self.kind.agent_queue(uuid, idle=idle),
                work,
                name=command.name,
                parallelism=lambda: factor * self._settings.get(settings.parallelism),
            )
        except CairnError as error:
            if error.code == STALE_EPOCH and await self._has_moved(uuid):
                return answer_of(command, await self._bus.call(message()))
            if error.code in (UNREACHABLE, TIMEOUT):
                self._suspect(uuid, error.whole)
            if error.code == UNKNOWN_COMMAND:
                raise self._lacks(endpoint, command) from error
            raise

    def _own_fence(self, uuid: str) -> Fence | None:
        """In which epoch this node commands a machine; None: it is another's, and only a run that began here ends here."""
        if not self._bus.owns(uuid):
            return None
        epoch = self._bus.epoch
        own = self._own.get(uuid)
        if own is None or own.epoch != epoch:
            own = self._own[uuid] = Fence(resource=f"machine:{uuid}", epoch=epoch, node=self._bus.node)
        return own

    async def _has_moved(self, uuid: str) -> bool:
        """Whether a machine whose agent has refused a command is another node's by now; this one hears of it a moment later."""
        await self._clock.sleep(_MOVED_SECONDS)
        return not self._bus.owns(uuid)

    async def connect(self, uuid: str, command: AgentCommand[R], *, accept: bool = False) -> tuple[R, AgentSeen]:
        """The one call that is made to a machine that is not connected, once it is certain who answers.

        Args:
            command: makes the agent this machine's.
            accept: somebody says that the machine which answers is to be this one, though it was another until now.

        Returns:
            The command's answer, and what the agent tells of itself.

        Raises:
            CairnError: as `call`, and ``<noun>.agent-incompatible``, ``<noun>.machine-taken``, ``<noun>.machine-changed``.
        """
        known = await self._agent(uuid)
        pong = await self._ask(known, timeout_seconds=10.0)
        if pong.protocol != PROTOCOL_VERSION:
            raise self._incompatible(known.endpoint, pong.protocol)
        await self._store.look(lambda tx: check_identity(tx, self.kind, uuid, pong.machine, accept=accept))
        context = current()
        fences = tuple(fence for fence in (self._own_fence(uuid), context.fence) if fence is not None)
        answer = await self._agents.call(known.endpoint, command, timeout_seconds=60.0, job=context.job, fences=fences)
        self._lost.pop(uuid, None)
        seen = AgentSeen(
            agent_boot=pong.boot,
            agent_version=pong.version,
            agent_protocol=pong.protocol,
            agent_warning=self._warning(pong, known),
            machine_identity=pong.machine,
        )
        self._connected(uuid)
        return answer, seen

    async def examine(self, uuid: str) -> Examined:
        """Ask whoever is where the machine's agent should be, and compare with what this node would put there."""
        driver = await self._store.look(lambda tx: self.kind.driver(self.kind.existing(tx, uuid)))
        await driver.look_again()
        before = self._known.pop(uuid, None)
        known = await self._agent(uuid)
        if before is not None and before.deployment != known.deployment:
            self._known = {uuid: known}  # what the others should have may have changed as well
        try:
            pong = await self._ask(known, timeout_seconds=10.0)
        except CairnError as error:
            return Examined(error=error, outdated=f"does not answer: {error.message}")
        return Examined(pong=pong, outdated=self._outdated(pong, known))

    async def ping(self, uuid: str, *, timeout_seconds: float) -> Pong:
        """Ask the agent for its identity, without a turn in the queue."""
        known = await self._agent(uuid)
        pong = await self._ask(known, timeout_seconds=timeout_seconds)
        if uuid in self._known:  # else it was removed meanwhile
            self.shown[uuid] = AgentCertificate(pong.certificate_ends, pong.issuer, pong.trust)
        self._pinged(uuid, pong, self._outdated(pong, known))
        return pong

    async def _ask(self, known: _Agent, *, timeout_seconds: float) -> Pong:
        return await self._agents.ping(known.endpoint, timeout_seconds=timeout_seconds)

    def lost(self, uuid: str, reason: str) -> None:
        """Note that the machine does not answer: calls fail at once until it is connected again."""
        self._lost[uuid] = reason

    def forget(self, uuid: str) -> None:
        """Look the address up again at the next call."""
        self._drops += 1
        self._known.pop(uuid, None)

    def erased(self, uuid: str) -> None:
        """Forget a machine that was removed from the cloud."""
        self._known.pop(uuid, None)
        self._lost.pop(uuid, None)
        self._own.pop(uuid, None)
        self.shown.pop(uuid, None)

    async def _agent(self, uuid: str) -> _Agent:
        known = self._known.get(uuid)
        if known is not None:
            return known

        def fn(tx: Tx) -> _Agent:
            row: Machine = self.kind.existing(tx, uuid)
            driver = self.kind.driver(row)
            return _Agent(driver.endpoint(tx, uuid), row.agent_protocol, driver.deployment(tx, uuid))

        drops = self._drops
        known = await self._store.look(fn)
        if drops == self._drops:  # else it may have changed while it was read
            self._known[uuid] = known
        return known

    def _outdated(self, pong: Pong, known: _Agent) -> str | None:
        """In which way an agent is not the one that should be there."""
        if pong.protocol != PROTOCOL_VERSION:
            return f"speaks protocol {pong.protocol}, and this node {PROTOCOL_VERSION}"
        if pong.version != self._version:
            return f"is of version {pong.version}, and this node of {self._version}"
        if known.deployment and pong.deployment != known.deployment:
            return "was put there with other programs, roles or settings than this node has now"
        return None

    def _warning(self, pong: Pong, known: _Agent) -> str | None:
        """What is not as it should be, and does not keep the machine from working."""
        warnings = []
        outdated = self._outdated(pong, known)
        if outdated is not None:
            warnings.append(f"Its agent {outdated}.")
        ahead = pong.time - self._clock.now().timestamp()
        if pong.time and abs(ahead) > _SKEW_SECONDS:
            where = "ahead of" if ahead > 0 else "behind"
            warnings.append(
                f"Its clock is {abs(ahead):.0f} s {where} this node's: certificates depend on it; set it (NTP)."
            )
        return " ".join(warnings) or None

    def _lacks(self, endpoint: AgentEndpoint, command: AgentCommand[R]) -> CairnError:
        return CairnError(
            f"{self.kind.noun}.agent-lacks-command",
            f"The agent of the {self.kind.title} does not know the command {command.name}: what has it, a plugin or a newer "
            "cairn, is not on the machine yet. Ask an administrator.",
            kind=ErrorKind.UNAVAILABLE,
            operator=f"The agent at {endpoint.address} is replaced in its turn, or at once when the {self.kind.title} is "
            "reconnected. A plugin goes along if it was installed when `cairn wheels build` was last run on this node.",
        )

    def _incompatible(self, endpoint: AgentEndpoint, protocol: int) -> CairnError:
        return CairnError(
            f"{self.kind.noun}.agent-incompatible",
            f"The agent of the {self.kind.title} speaks protocol {protocol}, and this node {PROTOCOL_VERSION}: no command can be "
            "given to it before it is upgraded, which is tried when it is connected.",
            kind=ErrorKind.UNAVAILABLE,
            operator=f"Reconnecting the {self.kind.title} at {endpoint.address} upgrades it, or says why it cannot be.",
        )


def _why_lost(row: Machine) -> str:
    return row.status_reason or "it was lost before this node started"
