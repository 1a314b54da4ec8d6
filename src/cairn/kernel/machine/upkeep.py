"""Keeps the agents of one kind as they should be, while they work: upgrades, new certificates, news of revoked ones.

What is to be done is seen in the answers to pings, so it costs nothing where nothing is to be done. Upgrades are calls that
connect a machine again, so many at a time as the setting says: after an upgrade of this node, agents follow in rolling turns.
Certificates are renewed over the connection that the old one secures, long before it ends.

What fails is tried again with growing pauses, up to a day: a password that was changed is not to be tried every minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

from cairn.agents.protocol.trust import RenewTrust
from cairn.agents.protocol.wire import PROTOCOL_VERSION, Pong
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.context import NOWHERE, entered
from cairn.kernel.bus.tasks import Tasks
from cairn.kernel.clock import Clock
from cairn.kernel.config import GlobalConfig
from cairn.kernel.deploy.authority import RENEWAL, Authority
from cairn.kernel.error import CairnError
from cairn.kernel.machine.client import MachineClient

_log = structlog.get_logger("cairn.machine")
_RECONNECT_SECONDS: Final = 900.0
_FIRST_PAUSE_SECONDS: Final = 600.0
_LONGEST_PAUSE_SECONDS: Final = 86400.0
#: agents that are told of certificates at a time: it takes them a moment
_TOLD_AT_A_TIME: Final = 5


class _Turns:
    """Work on machines, each at most once at a time, and so many at a time as `limit` says."""

    def __init__(self, name: str, limit: Callable[[], int], work: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        self._name = name
        self._limit = limit
        self._work = work
        self._tasks = Tasks()
        self._waiting: dict[str, None] = {}
        self._running: set[str] = set()

    def add(self, uuid: str) -> None:
        """Have the machine's turn come, unless it waits or is worked on."""
        if uuid not in self._running:
            self._waiting[uuid] = None
            self.fill()

    def fill(self) -> None:
        """Begin as much as is allowed now."""
        while self._waiting and len(self._running) < self._limit():
            uuid = next(iter(self._waiting))
            del self._waiting[uuid]
            self._running.add(uuid)
            self._tasks.start(self._one(uuid), f"{self._name} {uuid}")

    async def stop(self) -> None:
        """Give up what waits, and cancel what runs."""
        self._waiting.clear()
        await self._tasks.stop()

    async def _one(self, uuid: str) -> None:
        try:
            await self._work(uuid)
        except Exception:  # noqa: BLE001 (the edge: the next ping asks for it again, and the others go on)
            _log.exception("machine.upkeep-bug", uuid=uuid, work=self._name)
        finally:
            self._running.discard(uuid)
            if not asyncio.current_task().cancelling():  # type: ignore[union-attr]  # inside a task there is one
                self.fill()


class Upkeep:
    """The upkeep of those machines of a kind that this node pings."""

    def __init__(
        self, *, client: MachineClient, bus: Bus, authority: Authority, settings: GlobalConfig, clock: Clock
    ) -> None:
        self._client = client
        self._kind = client.kind
        self._bus = bus
        self._authority = authority
        self._settings = settings
        self._clock = clock
        self._log = _log.bind(kind=client.kind.noun)
        self._pauses: dict[str, tuple[float, float]] = {}  #: machine -> when it is tried again, and the pause before
        self._upgrades = _Turns(f"upgrade {client.kind.title}", self._at_a_time, self._upgrade)
        self._renewals = _Turns(f"certificates of {client.kind.title}", lambda: _TOLD_AT_A_TIME, self._renew)

    async def start(self) -> None:
        """Begin to look at the answers to pings."""
        self._settings.listen(self._kind.settings.upgrade_parallelism, self._upgrades.fill)
        self._client.tell(self.pinged)

    async def stop(self) -> None:
        """Give up what was begun; it is seen again at the first pings of the next start."""
        self._client.tell(lambda uuid, pong, outdated: None)
        await self._upgrades.stop()
        await self._renewals.stop()

    def pinged(self, uuid: str, pong: Pong, outdated: str | None) -> None:
        """See what an agent that answered needs. One that cannot be given commands is the monitor's affair."""
        if pong.protocol != PROTOCOL_VERSION:
            return
        if outdated is not None:
            if self._is_due(uuid):
                self._upgrades.add(uuid)
            return
        self._pauses.pop(uuid, None)
        if self._wants_certificate(pong) or self._wants_revocations(pong):
            self._renewals.add(uuid)

    def _at_a_time(self) -> int:
        return int(self._settings.get(self._kind.settings.upgrade_parallelism))

    def _is_due(self, uuid: str) -> bool:
        return self._clock.monotonic() >= self._pauses.get(uuid, (0.0, 0.0))[0]

    def _pause(self, uuid: str) -> None:
        """Try again later, unless a ping shows that it is not needed any more."""
        before = self._pauses.get(uuid, (0.0, 0.0))[1]
        pause = min(max(before * 2, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
        self._pauses[uuid] = (self._clock.monotonic() + pause, pause)

    def _wants_certificate(self, pong: Pong) -> bool:
        if not pong.certificate_ends:
            return False
        ends_soon = pong.certificate_ends - self._authority.now() < RENEWAL.total_seconds()
        # one that does not tell its roots is of an earlier version, and is upgraded first
        return ends_soon or (
            bool(pong.trust) and (pong.issuer, pong.trust) != (self._authority.issuer, self._authority.trust)
        )

    def _wants_revocations(self, pong: Pong) -> bool:
        """Only machines that others fetch from are told at once: telling all would cost more the more there are."""
        return (
            self._kind.serves_machines and bool(pong.certificate_ends) and pong.revocation != self._authority.revocation
        )

    def _revoked(self) -> list[str]:
        return [f"{serial:x}" for serial in self._authority.revoked]

    async def _upgrade(self, uuid: str) -> None:
        self._pause(uuid)
        self._log.info("machine.agent-upgrade", uuid=uuid)
        with entered(NOWHERE):
            try:
                await self._bus.call(self._kind.reconnecting(uuid), timeout_seconds=_RECONNECT_SECONDS)
            except CairnError as error:
                self._log.warning("machine.agent-upgrade-failed", uuid=uuid, error=str(error))

    async def _renew(self, uuid: str) -> None:
        """Send the agent its certificate, new if it is about to end, and what is revoked."""
        with entered(NOWHERE):
            try:
                credentials = await self._authority.renewed_agent(uuid)
                shown = self._client.shown.get(uuid)
                command = RenewTrust(
                    revoked=self._revoked(),
                    certificate=credentials.certificate if credentials else None,
                    key=credentials.key if credentials else None,
                    authority=self._authority.bundle if shown is None or shown.trust else None,  # else it is too old
                )
                await self._client.call(uuid, command, timeout_seconds=60.0)
            except CairnError as error:
                self._log.warning("machine.certificate-not-renewed", uuid=uuid, error=str(error))
