"""Steps that connect and delete machines of every kind; what differs is in the kind of the message's entity.

A workflow that adds a machine lists its service's own ``<noun>.record``, then ``machine.identify``, ``machine.record-identity``
and ``machine.deploy``, and then the service's own steps that connect.
"""

from __future__ import annotations

from typing import ClassVar

import structlog
from msgspec import Struct

from cairn.kernel.api import ApiChange, ApiCreate, ApiDelete, DeleteMode
from cairn.kernel.deploy.installer import Identified
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.machine.client import MachineClient
from cairn.kernel.machine.identity import WRONG_MACHINE, check_identity
from cairn.kernel.machine.kind import MachineDriver
from cairn.kernel.machine.machines import Machines
from cairn.kernel.machine.messages import ApiReconnect
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


class IdentifyOutput(Struct, frozen=True, kw_only=True):
    """Which machine it is."""

    identified: Identified


class Identify(ActionStep[DeployInput, IdentifyOutput]):
    """Find out which machine it is, before anything is changed on it."""

    name = "machine.identify"
    title = "looking which machine it is"
    nothing_to_undo: ClassVar[str | None] = (
        "it only reads; the host key that it pins is forgotten with the machine's row"
    )

    def __init__(self, machines: Machines, store: Store) -> None:
        self._machines = machines
        self._store = store

    async def do(self, given: DeployInput) -> IdentifyOutput:
        """Ask the machine by its driver; where an agent is there already, that one."""
        client = self._machines.of(given.asked)
        row = await self._store.look(lambda tx: client.kind.existing(tx, given.uuid))
        found = await client.kind.driver(row).identify(given.uuid)
        if found is None:
            pong = (await client.examine(given.uuid)).pong
            found = Identified(identity=pong.machine if pong is not None else None)
        return IdentifyOutput(identified=found)


class RecordIdentityInput(Struct, frozen=True, kw_only=True):
    """The machine, and which one it is."""

    uuid: str
    asked: ApiCreate
    identified: Identified


class RecordIdentity(TransactionStep[RecordIdentityInput, Nothing]):
    """Write down which machine it is; one that is in the cloud already is refused."""

    name = "machine.record-identity"
    title = "seeing that the machine is not here already"
    nothing_to_undo: ClassVar[str | None] = "the machine's row goes with the step that wrote it"

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    def do(self, tx: Tx, given: RecordIdentityInput) -> Nothing:
        """Refuse a second row for a machine (``<noun>.machine-taken``), whatever its address is called."""
        kind = self._machines.of(given.asked).kind
        fingerprint = getattr(given.asked, "host_key_fingerprint", None)
        kind.identified(tx, given.uuid, given.identified, given=fingerprint is not None)
        return NOTHING


class DeployOutput(Struct, frozen=True, kw_only=True):
    """What went wrong, if the machine can be connected all the same."""

    deploy_warning: str | None = None


class Deploy(ActionStep[DeployInput, DeployOutput]):
    """Put the agent on the machine, unless the one that answers is as it should be.

    So a machine whose agent runs is connected without being logged in to: a changed password costs nothing but upgrades.
    """

    name = "machine.deploy"
    title = "putting the agent on the machine"
    nothing_to_undo: ClassVar[str | None] = (
        "an agent that the cloud does not know of does nothing; the next add uses it"
    )

    def __init__(self, machines: Machines, store: Store) -> None:
        self._machines = machines
        self._store = store

    async def do(self, given: DeployInput) -> DeployOutput:
        """Deploy by the driver of its type. The address is looked up again, since the agent may listen elsewhere afterwards.

        An agent that can be used and cannot be replaced is used; it is tried again from time to time.
        """
        client = self._machines.of(given.asked)
        row = await self._store.look(lambda tx: client.kind.existing(tx, given.uuid))
        driver = client.kind.driver(row)
        if isinstance(given.asked, ApiCreate):  # which machine it is was seen before
            await driver.deploy(given.uuid)
            client.forget(given.uuid)
            return DeployOutput()
        found = await client.examine(given.uuid)
        asked_for = isinstance(given.asked, ApiReconnect) and given.asked.redeploy
        if found.outdated is None and not asked_for:
            return DeployOutput()
        try:
            await self._replace(client, driver, given.uuid, accept=accepts(given.asked))
        except CairnError as error:
            if asked_for or not found.usable or error.code.endswith(WRONG_MACHINE):
                raise _with_cause(error, found.error) from error
            _log.warning("machine.agent-not-upgraded", uuid=given.uuid, name=row.name, error=str(error))
            return DeployOutput(deploy_warning=f"It could not be replaced: {error.message}")
        return DeployOutput()

    async def _replace(self, client: MachineClient, driver: MachineDriver, uuid: str, *, accept: bool) -> None:
        identified = await driver.identify(uuid)
        if identified is not None:
            found = identified.identity
            await self._store.look(lambda tx: check_identity(tx, client.kind, uuid, found, accept=accept))
        await driver.deploy(uuid)
        client.forget(uuid)


def accepts(asked: ApiCreate | ApiChange) -> bool:
    """Whether a call says that the machine which answers is to be this one, though it was another until now."""
    return isinstance(asked, ApiReconnect) and asked.accept_machine


def _with_cause(error: CairnError, cause: CairnError | None) -> CairnError:
    """Say also what the agent said, where a machine could not be logged in to either."""
    if error.cause is None and cause is not None:
        error.cause = cause.record()
    return error


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
        row = kind.existing(
            tx, given.uuid, lock=True
        )  # who puts something on it locks it as well, and sees that it is closed
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
