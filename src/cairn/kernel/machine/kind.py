"""Kinds of machines: the class that a service extends for its own, with the work on rows that all of them share.

A service extends `MachineKind` once (hosts, backup storages); plugins give drivers for its types (KVM, Simulator).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from sqlalchemy import select

from cairn.agents.protocol.wire import PROTOCOL_VERSION, Pong
from cairn.kernel.agent.client import AgentEndpoint
from cairn.kernel.api import ApiChange, ApiCreate
from cairn.kernel.bus.message import Event
from cairn.kernel.deploy.installer import Identified
from cairn.kernel.error import CairnError
from cairn.kernel.event import Events
from cairn.kernel.machine.agents import MachineAgents
from cairn.kernel.machine.config import MachineSettings
from cairn.kernel.machine.identity import check_identity
from cairn.kernel.machine.messages import AgentWarned, HostKeyPinned
from cairn.kernel.machine.model import AgentSeen, Machine, MachineStatus
from cairn.kernel.queue import queue_key
from cairn.kernel.resource import enter, erase, existing
from cairn.kernel.store.record import info, table_of
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags

M = TypeVar("M", bound=Machine)
_WARNING_CHARACTERS = 2000


class MachineDriver(Protocol):
    """A type of machine. The synchronous methods are called inside transactions."""

    def added(self, tx: Tx, uuid: str, asked: ApiCreate) -> None:
        """Write the fields that only this type has; the machine's row was just written."""

    def endpoint(self, tx: Tx, uuid: str) -> AgentEndpoint:
        """Find the address that the machine's agent listens on."""

    async def identify(self, uuid: str) -> Identified | None:
        """Find out which machine it is, changing nothing on it; None: its agent is there already, and can tell."""
        return None

    def deployment(self, tx: Tx, uuid: str) -> str:
        """Name all that `deploy` would put there, as the agent tells it; empty: only the agent's version counts."""
        return ""

    async def look_again(self) -> None:
        """See whether what `deploy` puts on machines has changed on this node."""

    async def deploy(self, uuid: str) -> None:
        """Put the agent there, or see that it is there as it should be. Safe to repeat."""

    async def remove(self, uuid: str) -> None:
        """Take the agent away. A machine that cannot be reached is an error; nothing there is success."""

    def removed(self, tx: Tx, uuid: str) -> None:
        """Forget what is kept beside its row; the machine's row, and rows that extend it, are deleted now."""


class MachineKind(ABC, Generic[M]):
    """One kind of machine, with all that differs from other kinds.

    A class that extends it says:
        record: its rows.
        settings: of calls to its agents and of pings.
        closed: the state in which nothing new is put on it; it has that while it is being deleted.
        enforceable: whether ``deleteMode=Enforcing`` removes what is on it.
        remedy: what to do about a machine that still has something on it, in a sentence.
    """

    record: type[M]
    settings: MachineSettings
    closed: StrEnum
    enforceable: bool
    remedy: str
    #: whether other machines fetch things from it, so that its agent has to know of certificates that were revoked
    serves_machines: bool = False

    def __init__(self, events: Events) -> None:
        self._events = events
        self.noun = info(self.record).noun
        self.title = info(self.record).title
        self._keys = select(table_of(self.record).c.uuid)

    # -- what differs -------------------------------------------------------------------------------------------

    def agent_queue(self, uuid: str, *, idle: bool = False) -> str:
        """The queue of the commands to a machine's agent; `idle`: of those that leave the machine idle (`MachineAgents.call`).

        It is not the machine's own: a long command does not hold up what is said of the machine, nor the other way round.
        """
        return queue_key(f"{self.noun}-agent-idle" if idle else f"{self.noun}-agent", uuid)

    @abstractmethod
    def driver(self, row: M) -> MachineDriver:
        """Find the driver of the machine's type (``plugin.no-extension``)."""

    @abstractmethod
    def status_changed(self, row: M, status: MachineStatus, reason: str | None) -> Event:
        """Make the event that the status of `row` changed to `status`."""

    @abstractmethod
    def reconnecting(self, uuid: str) -> ApiChange:
        """Make the call that connects a machine again."""

    def keys(self, tx: Tx) -> list[str]:
        """The uuids of all machines of the kind. All are pinged, so that their status is true whatever their state."""
        return [str(row[0]) for row in tx.rows(self._keys)]

    def may_be_tried(self, row: M) -> bool:
        """Tell whether a machine that is lost and answers no ping is tried again from time to time."""
        return True

    def is_known(self, row: M, pong: Pong) -> bool:
        """Tell whether the agent that answers is the one that was connected, and can be given commands.

        If not, the machine is connected again.
        """
        speaks = pong.protocol == PROTOCOL_VERSION and row.agent_protocol in (0, pong.protocol)
        return pong.boot == row.agent_boot and speaks

    @abstractmethod
    async def pinged(self, agents: MachineAgents[str], row: M, pong: Pong, asked_at: datetime) -> None:
        """Use the answer of a connected machine to a ping that was sent at `asked_at`."""

    @abstractmethod
    def why_not_remove(self, tx: Tx, uuid: str) -> list[str]:
        """List the reasons not to remove the machine: ``3 images are on it``."""

    async def clean(self, agents: MachineAgents[str], uuid: str) -> None:
        """Have the agent tidy up before it is taken away."""

    def removed(self, tx: Tx, uuid: str) -> None:
        """Remove what points to the machine, whose row is deleted now. Safe to repeat."""

    # -- rows ---------------------------------------------------------------------------------------------------

    def existing(self, tx: Tx, uuid: str, *, lock: bool = False) -> M:
        """Read the machine's row (``<noun>.not-found``); `lock`: nobody else changes it before the end of the transaction."""
        return existing(tx, self.record, uuid, lock=lock)

    def add(self, tx: Tx, tags: Tags, asked: ApiCreate, row: M) -> None:
        """Write a new machine down, with its tags and the fields of its type (``resource.uuid-taken``)."""
        enter(tx, tags, asked, row)
        self.driver(row).added(tx, row.uuid, asked)

    def erase(self, tx: Tx, uuid: str) -> None:
        """Forget a machine, even if the plugin of its type is left out. Safe to repeat."""
        row = tx.get(self.record, uuid)
        if row is None:
            return
        try:
            self.driver(row).removed(tx, uuid)
        except CairnError as error:
            if error.code != "plugin.no-extension":
                raise
        self.removed(tx, uuid)
        erase(tx, self.record, uuid)

    def connected(self, tx: Tx, uuid: str, agent: AgentSeen, warning: str | None = None, **facts: object) -> None:
        """Mark a machine as Connected, and write down what its agent told of itself, and its `facts`.

        Args:
            warning: what went wrong on the way, and does not keep the machine from working.

        Raises:
            CairnError: ``<noun>.machine-taken``.
        """
        row = self.existing(tx, uuid)
        check_identity(tx, self, uuid, agent.machine_identity, accept=True)  # seen before; another may have come since
        warnings = " ".join(one for one in (warning, agent.agent_warning) if one)[:_WARNING_CHARACTERS] or None
        seen = msgspec.structs.asdict(agent) | {"agent_warning": warnings}
        if agent.machine_identity is None:
            del seen["machine_identity"]  # what was known of it stays
        tx.update(self.record, uuid, **seen, **facts)
        self.set_status(tx, uuid, MachineStatus.CONNECTED, None)
        if warnings is not None and warnings != row.agent_warning:
            warned = AgentWarned(machine=uuid, name=row.name, version=agent.agent_version, warning=warnings)
            self._events.emit(tx, warned, resource=uuid)

    def identified(self, tx: Tx, uuid: str, found: Identified, *, given: bool) -> None:
        """Write down which machine it is, and tell of the host key that was pinned for it.

        Args:
            given: whether somebody gave the key's fingerprint.

        Raises:
            CairnError: ``<noun>.machine-taken``.
        """
        row = self.existing(tx, uuid)
        check_identity(tx, self, uuid, found.identity)
        tx.update(self.record, uuid, machine_identity=found.identity)
        if found.fingerprint is not None:
            pinned = HostKeyPinned(machine=uuid, name=row.name, fingerprint=found.fingerprint, given=given)
            self._events.emit(tx, pinned, resource=uuid)

    def failed(self, tx: Tx, uuid: str) -> None:
        """Mark a machine as Disconnected, because it could not be connected."""
        self.set_status(tx, uuid, MachineStatus.DISCONNECTED, "connecting failed")

    def set_status(self, tx: Tx, uuid: str, status: MachineStatus, reason: str | None) -> None:
        """Change a machine's status and emit the event; one that is gone is left alone."""
        row = tx.get(self.record, uuid, lock=True)  # or the event would tell of a change that another made meanwhile
        if row is None or (row.status is status and row.status_reason == reason):
            return
        tx.update(self.record, uuid, status=status, status_reason=reason, last_op_date=tx.now)
        if row.status is not status:
            self._events.emit(tx, self.status_changed(row, status, reason), resource=uuid)


#: a kind whose rows are not known where it is handled
AnyKind = MachineKind[Any]
