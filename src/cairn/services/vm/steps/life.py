"""Where each operation on a VM begins and ends, as `machine.LIFE` says."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.step import NOTHING, Nothing, TransactionStep
from cairn.kernel.resource import existing
from cairn.kernel.store.store import Tx
from cairn.services.host.extensions import Candidate
from cairn.services.ids import HostId
from cairn.services.vm.machine import LIFE, ON_NO_HOST, check, operation_of
from cairn.services.vm.messages import VmCall
from cairn.services.vm.model import VmInstance, VmState
from cairn.services.vm.states import VmStates


class Former(Struct, frozen=True, kw_only=True):
    """How the VM was when the operation began."""

    state: VmState
    last_host_uuid: HostId | None  #: where it is, or was last

    @property
    def host(self) -> HostId:
        """Where it is, or was last (``vm.no-host``)."""
        if self.last_host_uuid is None:
            raise CairnError(
                "vm.no-host",
                "The VM was never on a host, so there is nothing to be done there. Start it first.",
                kind=ErrorKind.CONFLICT,
            )
        return self.last_host_uuid


class BeginInput(Struct, frozen=True, kw_only=True):
    """Which VM, and what is to be done to it."""

    uuid: str
    asked: VmCall


class BeginOutput(Struct, frozen=True, kw_only=True):
    """How it was."""

    former: Former


class Begin(TransactionStep[BeginInput, BeginOutput]):
    """Refuse an operation that the VM's state does not allow, else note that it is under way."""

    name = "vm.begin"
    title = "looking whether the VM's state allows it"

    def __init__(self, states: VmStates) -> None:
        self._states = states

    def do(self, tx: Tx, given: BeginInput) -> BeginOutput:
        """From now on what the hypervisor says of the VM is left to this workflow."""
        vm = existing(tx, VmInstance, given.uuid)
        operation = operation_of(given.asked)
        check(operation, vm.state, vm.name)
        self._states.change(tx, vm, LIFE[operation].during)
        return BeginOutput(former=Former(state=vm.state, last_host_uuid=vm.host_uuid or vm.last_host_uuid))

    def undo(self, tx: Tx, given: BeginInput, made: BeginOutput | None) -> None:
        """It is as it was; if the hypervisor knows better, the next look at it tells. A state that came since stays."""
        vm = tx.get(VmInstance, given.uuid)
        if vm is not None and made is not None and vm.state is LIFE[operation_of(given.asked)].during:
            self._states.change(tx, vm, made.former.state)


class FinishInput(Struct, frozen=True, kw_only=True):
    """Which VM, what was done to it, and where it went, if it went anywhere."""

    uuid: str
    asked: VmCall
    place: Candidate | None = None


class Finish(TransactionStep[FinishInput, Nothing]):
    """Note how the VM stands now that the operation is done."""

    name = "vm.finish"
    title = "noting how the VM stands now"
    nothing_to_undo: ClassVar[str | None] = "it is the last step; the next look at the host tells if that was not so"

    def __init__(self, states: VmStates) -> None:
        self._states = states

    def do(self, tx: Tx, given: FinishInput) -> Nothing:
        """A VM that is off leaves its host; where it was last stays known."""
        after = LIFE[operation_of(given.asked)].after
        assert after is not None, "an expunged VM has no state"
        vm = existing(tx, VmInstance, given.uuid)
        self._states.change(tx, vm, after, **_where(after, given.place))
        return NOTHING


def _where(state: VmState, place: Candidate | None) -> dict[str, str | None]:
    if state in ON_NO_HOST:
        return {"host_uuid": None}
    if place is None:
        return {}
    return {
        "host_uuid": place.host_uuid,
        "last_host_uuid": place.host_uuid,
        "cluster_uuid": place.cluster_uuid,
        "zone_uuid": place.zone_uuid,
    }
