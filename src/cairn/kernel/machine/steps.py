"""Steps that connect and delete machines of every kind; what differs is in the kind of the message's entity.

A workflow that adds a machine lists its service's own ``<noun>.record``, then ``machine.deploy``, and then the service's own
steps that connect.
"""

from __future__ import annotations

from typing import ClassVar

import structlog
from msgspec import Struct

from cairn.kernel.api import ApiChange, ApiCreate, ApiDelete, DeleteMode
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.machine.machines import Machines
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.store.store import Store, Tx

_log = structlog.get_logger("cairn.machine")


class ReconnectInput(Struct, frozen=True, kw_only=True):
    """The machine, and the call whose entity is its kind."""

    uuid: str
    asked: ApiChange


class BeginConnect(TransactionStep[ReconnectInput, Nothing]):
    """Mark the machine as Connecting."""

    name = "machine.begin-connect"
    title = "beginning to connect"

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    def do(self, tx: Tx, given: ReconnectInput) -> Nothing:
        """Set the status, which keeps the monitor from it; a machine that does not exist is refused."""
        kind = self._machines.of(given.asked).kind
        kind.existing(tx, given.uuid)
        kind.set_status(tx, given.uuid, MachineStatus.CONNECTING, None)
        return NOTHING

    def undo(self, tx: Tx, given: ReconnectInput, made: Nothing | None) -> None:
        """Mark it as Disconnected; the monitor tries again."""
        self._machines.of(given.asked).kind.failed(tx, given.uuid)


class DeployInput(Struct, frozen=True, kw_only=True):
    """The machine that gets its agent, and the call whose entity is its kind."""

    uuid: str
    asked: ApiCreate | ApiChange


class Deploy(ActionStep[DeployInput, Nothing]):
    """Put the agent on the machine."""

    name = "machine.deploy"
    title = "putting the agent on the machine"
    nothing_to_undo: ClassVar[str | None] = (
        "an agent that the cloud does not know of does nothing; the next add uses it"
    )

    def __init__(self, machines: Machines, store: Store) -> None:
        self._machines = machines
        self._store = store

    async def do(self, given: DeployInput) -> Nothing:
        """Deploy by the driver of its type. The address is looked up again, since the agent may listen elsewhere afterwards."""
        client = self._machines.of(given.asked)
        row = await self._store.look(lambda tx: client.kind.existing(tx, given.uuid))
        await client.kind.driver(row).deploy(given.uuid)
        client.forget(given.uuid)
        return NOTHING


class RemoveInput(Struct, frozen=True, kw_only=True):
    """The machine, and the call that says whether to enforce its removal."""

    uuid: str
    asked: ApiDelete


class CloseOutput(Struct, frozen=True, kw_only=True):
    """The state that an undo puts back."""

    former_state: str


class Close(TransactionStep[RemoveInput, CloseOutput]):
    """Refuse while something is on the machine; then let nothing new on it."""

    name = "machine.close"
    title = "checking that nothing is left on it"

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    def do(self, tx: Tx, given: RemoveInput) -> CloseOutput:
        """Close it. When enforcing, what is on it does not count for kinds whose removal takes it along."""
        kind = self._machines.of(given.asked).kind
        row = kind.existing(tx, given.uuid)
        reasons = kind.why_not_remove(tx, given.uuid)
        if reasons and not (kind.enforceable and given.asked.delete_mode is DeleteMode.ENFORCING):
            raise CairnError(
                f"{kind.noun}.in-use",
                f"The {kind.title} {row.name} cannot go: {'; '.join(reasons)}. {kind.remedy}",
                kind=ErrorKind.CONFLICT,
            )
        tx.update(kind.record, given.uuid, state=kind.closed, last_op_date=tx.now)
        return CloseOutput(former_state=row.state)

    def undo(self, tx: Tx, given: RemoveInput, made: CloseOutput | None) -> None:
        """Put its former state back."""
        if made is not None:
            kind = self._machines.of(given.asked).kind
            tx.update(kind.record, given.uuid, state=type(kind.closed)(made.former_state))


class RemoveAgent(ActionStep[RemoveInput, Nothing]):
    """Have the agent tidy up, and take it away."""

    name = "machine.remove-agent"
    title = "taking the agent off the machine"
    nothing_to_undo: ClassVar[str | None] = "reconnecting the machine puts the agent back"

    def __init__(self, machines: Machines, store: Store) -> None:
        self._machines = machines
        self._store = store

    async def do(self, given: RemoveInput) -> Nothing:
        """Remove it; when enforcing, a machine that cannot be reached is left as it is."""
        client = self._machines.of(given.asked)
        kind = client.kind
        row = await self._store.look(lambda tx: kind.existing(tx, given.uuid))
        try:
            await kind.clean(client, given.uuid)
            await kind.driver(row).remove(given.uuid)
        except CairnError as error:
            if given.asked.delete_mode is not DeleteMode.ENFORCING:
                raise CairnError(
                    f"{kind.noun}.not-cleaned",
                    f"The agent could not be taken off the {kind.title} {row.name}. Put the machine right and try again, "
                    "or forget it as it is with deleteMode=Enforcing.",
                    kind=ErrorKind.UNAVAILABLE,
                    cause=error,
                ) from error
            _log.warning("machine.left-as-it-is", kind=kind.noun, uuid=given.uuid, error=str(error))
        return NOTHING


class Erase(TransactionStep[RemoveInput, Nothing]):
    """Forget the machine, once its agent was removed."""

    name = "machine.erase"
    title = "forgetting it"
    nothing_to_undo: ClassVar[str | None] = "it is the last step"

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    def do(self, tx: Tx, given: RemoveInput) -> Nothing:
        """Erase its rows, with all that refers to them; one that is gone is success."""
        client = self._machines.of(given.asked)
        client.kind.erase(tx, given.uuid)
        tx.after_commit(lambda: client.erased(given.uuid))
        return NOTHING
