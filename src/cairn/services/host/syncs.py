"""Parts of hosts (networks, debts) that are brought in line with the database, each on its own.

A part that fails is written down as a `HostFault`, said once by an event, and tried again every ``host.sync.retryInterval``
while the host is connected; connecting does not depend on it. One host that hangs holds up no other: each part is tried in a
task of its own, and not again while that one lasts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Select, bindparam, select

from cairn.agents.protocol.codes import STALE_EPOCH
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.handlers import handles
from cairn.kernel.bus.tasks import Tasks
from cairn.kernel.error import CairnError
from cairn.kernel.event import Events
from cairn.kernel.ids import IdSource
from cairn.kernel.invalidation import Keys
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Store, Tx
from cairn.services.host.messages import HostSyncFailed, Synced, SyncHost
from cairn.services.host.model import Host, HostFault
from cairn.services.host.provided import HostSyncs
from cairn.services.ids import HostId

_log = structlog.get_logger("cairn.host")
_REASON_CHARACTERS = 2000
_PARALLELISM = 20
_AT_A_TIME = 1000  #: hosts in one statement
_host = table_of(Host)
_STATUSES: Select[Any] = select(_host.c.uuid, _host.c.status).where(
    _host.c.uuid.in_(bindparam("hosts", expanding=True))
)

Work = Callable[[HostId, str], Awaitable[None]]


class _Part(NamedTuple):
    """One part of one host."""

    host: HostId
    kind: str
    subject: str


class Syncs(HostSyncs):
    """Does parts' work, and remembers which of it failed."""

    def __init__(self, store: Store, bus: Bus, ids: IdSource, events: Events) -> None:
        self._store = store
        self._bus = bus
        self._ids = ids
        self._events = events
        self._works: dict[str, Work] = {}
        self._failing: dict[_Part, str] = {}
        self._noted: set[_Part] = set()  #: those of them that were rows when the table was read last
        self._busy: set[_Part] = set()
        self._gate = asyncio.Semaphore(_PARALLELISM)
        self._tasks = Tasks()
        self._moved = False  #: hosts may belong to other nodes than before

    def hosts_moved(self) -> None:
        """Hosts may belong to other nodes now than before: what failed on them is read again in the next round."""
        self._moved = True

    def register(self, kind: str, work: Work) -> None:
        """Say how a part is brought in line; see `HostSyncs`."""
        self._works[kind] = work

    def failing(self, host: HostId, kind: str, subject: str = "") -> str | None:
        """Look in memory; see `HostSyncs`."""
        return self._failing.get(_Part(host, kind, subject)) if self._failing else None

    def later(self, host: HostId, kind: str, subject: str = "", *, reason: str) -> None:
        """Take the part for one that failed; see `HostSyncs`. In memory only: who asks knows the reason after a restart, too."""
        if not self._bus.owns(host):
            self._tasks.start(
                self._have(SyncHost(host=host, kind=kind, subject=subject, later=reason)), f"sync {kind} elsewhere"
            )
            return
        self._failing.setdefault(_Part(host, kind, subject), reason)

    async def sync(
        self, host: HostId, kind: str, subject: str = "", *, work: Callable[[], Awaitable[None]] | None = None
    ) -> bool:
        """Do the part's work, and note how it ended; see `HostSyncs`."""
        if not self._bus.owns(host):
            return await self._has(SyncHost(host=host, kind=kind, subject=subject))
        part = _Part(host, kind, subject)
        try:
            await (self._works[kind](host, subject) if work is None else work())
        except CairnError as error:
            if error.code == STALE_EPOCH:
                raise  # whoever asked has lost its work: that says nothing of the host
            await self._failed(part, str(error))
        except Exception as error:  # noqa: BLE001 (whatever a part raises, it is that part alone that has failed)
            _log.exception("host.sync-bug", host=host, kind=kind, subject=subject)
            await self._failed(part, repr(error))
        else:
            await self._succeeded(part)
            return True
        return False

    async def _has(self, message: SyncHost) -> bool:
        """Have the node that the host belongs to do it."""
        try:
            return (await self._bus.call(message)).done
        except CairnError as error:
            _log.warning("host.sync-not-asked", host=message.host, kind=message.kind, error=str(error))
            return False

    async def _have(self, message: SyncHost) -> None:
        await self._has(message)

    @handles(SyncHost)
    async def asked(self, message: SyncHost) -> Synced:
        """Another node wants a part of a host in line that belongs to this one."""
        host = HostId(message.host)
        if message.later is not None:
            self.later(host, message.kind, message.subject, reason=message.later)
            return Synced(done=False)
        return Synced(done=await self.sync(host, message.kind, message.subject))

    async def _failed(self, part: _Part, reason: str) -> None:
        reason = reason[:_REASON_CHARACTERS]
        if self._failing.get(part) == reason:
            return
        first = part not in self._failing
        self._failing[part] = reason
        _log.warning("host.sync-failed", host=part.host, kind=part.kind, subject=part.subject, reason=reason)

        def fn(tx: Tx) -> None:
            there = {"host_uuid": part.host, "kind": part.kind, "subject": part.subject}
            if tx.update_where(HostFault, there, reason=reason) or tx.get(Host, part.host) is None:
                return
            tx.insert(
                HostFault(
                    uuid=self._ids.new(),
                    host_uuid=part.host,
                    kind=part.kind,
                    subject=part.subject,
                    reason=reason,
                    create_date=tx.now,
                )
            )

        await self._note(fn)
        if first:
            event = HostSyncFailed(host=part.host, kind=part.kind, subject=part.subject, reason=reason)
            await self._note(lambda tx: self._events.emit(tx, event, resource=part.host))

    async def _succeeded(self, part: _Part) -> None:
        if self._failing.pop(part, None) is not None:
            _log.info("host.sync-succeeded", host=part.host, kind=part.kind, subject=part.subject)
            await self._note(
                lambda tx: tx.delete_where(HostFault, host_uuid=part.host, kind=part.kind, subject=part.subject)
            )

    async def _note(self, fn: Callable[[Tx], object]) -> None:
        try:
            await self._store.write(fn)
        except CairnError as error:
            _log.warning("host.sync-not-noted", error=str(error))

    # -- trying again -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Read what failed before."""
        await self.reread()

    async def reread(self, keys: Keys = None) -> None:
        """Take over what is noted: what fails now, and what does not any more.

        On hosts of other nodes nothing else fails. On this node's own there may be what is not written down, or not yet.
        """
        rows = await self._store.read(lambda tx: tx.find(HostFault))
        noted = {_Part(row.host_uuid, row.kind, row.subject): row.reason for row in rows}
        for part in self._failing.keys() - noted.keys():
            if part in self._noted or not self._bus.owns(part.host):
                self._failing.pop(part, None)
        self._failing |= noted
        self._noted = set(noted)

    async def stop(self) -> None:
        """End what is being tried. Safe to repeat."""
        await self._tasks.stop()

    async def round(self) -> None:
        """Begin to try again what has failed on connected hosts of this node. Hosts that are gone are forgotten."""
        if self._moved:
            self._moved = False
            await self.reread()  # what failed elsewhere on hosts that belong to this node now
        if not self._failing:
            return
        hosts = await self._store.read(partial(_statuses, sorted({part.host for part in self._failing})))
        for part in list(self._failing):
            status = hosts.get(part.host)
            if status is None:
                self._failing.pop(part, None)
            elif self._is_tried(status, part):
                self._busy.add(part)
                self._tasks.start(self._try(part), f"sync {part.kind}")

    def _is_tried(self, status: str, part: _Part) -> bool:
        ready = status == MachineStatus.CONNECTED.value and self._bus.owns(part.host)
        return ready and part.kind in self._works and part not in self._busy

    async def _try(self, part: _Part) -> None:
        try:
            async with self._gate:
                await self.sync(*part)
        except CairnError as error:
            _log.info("host.sync-not-tried", host=part.host, kind=part.kind, error=str(error))  # it is another node's
        finally:
            self._busy.discard(part)


def _statuses(hosts: Sequence[HostId], tx: Tx) -> dict[HostId, str]:
    """The statuses of those hosts that are there, however many are asked for."""
    found: dict[HostId, str] = {}
    for start in range(0, len(hosts), _AT_A_TIME):
        rows = tx.rows(_STATUSES, {"hosts": hosts[start : start + _AT_A_TIME]})
        found |= {HostId(str(uuid)): str(status) for uuid, status in rows}
    return found
