"""The steps with which each operation on a VM begins and ends, as `machine.LIFE` says."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.kernel.api import DeleteMode
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.step import NOTHING, Nothing, TransactionStep
from cairn.kernel.resource import existing
from cairn.kernel.store.store import Tx
from cairn.services.host.extensions import Candidate
from cairn.services.ids import HostId
from cairn.services.vm.machine import LIFE, ON_NO_HOST, check, operation_of
from cairn.services.vm.messages import DestroyVmInstance, ExpungeVmInstance, VmCall
from cairn.services.vm.model import VmInstance, VmState
from cairn.services.vm.states import VmStates


class Former(Struct, frozen=True, kw_only=True):
    """The VM's state and place when the operation began."""

    state: VmState
    last_host_uuid: HostId | None  #: that it is on, or was on last

    @property
    def host(self) -> HostId:
        """The host that it is on, or was on last (``vm.no-host``)."""
        if self.last_host_uuid is None:
            raise CairnError(
                "vm.no-host",
                "The VM was never on a host, so there is nothing to be done there. Start it first.",
                kind=ErrorKind.CONFLICT,
            )
        return self.last_host_uuid


class BeginInput(Struct, frozen=True, kw_only=True):
    """The VM, and the call that is to change it."""

    uuid: str
    asked: VmCall


class BeginOutput(Struct, frozen=True, kw_only=True):
    """The VM as it was before."""

    former: Former
    enforced: bool = False  #: what cannot be reached is left behind as a debt


class Begin(TransactionStep[BeginInput, BeginOutput]):
    """Refuse an operation that the VM's state does not allow, else note that it is under way."""

    name = "vm.begin"
    title = "looking whether the VM's state allows it"

    def __init__(self, states: VmStates) -> None:
        self._states = states

    def do(self, tx: Tx, given: BeginInput) -> BeginOutput:
        """Set the transitional state: from now on the reconciler leaves the VM to this workflow."""
        vm = existing(tx, VmInstance, given.uuid)
        operation = operation_of(given.asked)
        check(operation, vm.state, vm.name)
        self._states.change(tx, vm, LIFE[operation].during)
        former = Former(state=vm.state, last_host_uuid=vm.host_uuid or vm.last_host_uuid)
        return BeginOutput(former=former, enforced=_is_enforced(given.asked))

    def undo(self, tx: Tx, given: BeginInput, made: BeginOutput | None) -> None:
        """Put the former state back, unless another came since. If it is not true any more, the reconciler corrects it.

        On a host that was lost meanwhile it is Unknown: there the reconciler hears nothing more.
        """
        vm = tx.get(VmInstance, given.uuid)
        if vm is not None and made is not None and vm.state is LIFE[operation_of(given.asked)].during:
            self._states.settle(tx, vm, made.former.state)


def _is_enforced(asked: VmCall) -> bool:
    return isinstance(asked, DestroyVmInstance | ExpungeVmInstance) and asked.delete_mode is DeleteMode.ENFORCING


class FinishInput(Struct, frozen=True, kw_only=True):
    """The VM, the call that changed it, and its new place if it has one."""

    uuid: str
    asked: VmCall
    place: Candidate | None = None


class Finish(TransactionStep[FinishInput, Nothing]):
    """Write the state that the operation leaves the VM in."""

    name = "vm.finish"
    title = "noting the VM's new state"
    own_rows: ClassVar[bool] = True
    nothing_to_undo: ClassVar[str | None] = "it is the last step; the reconciler corrects a state that is not true"

    def __init__(self, states: VmStates) -> None:
        self._states = states

    def do(self, tx: Tx, given: FinishInput) -> Nothing:
        """Write state and place. A VM that is off leaves its host, which stays known as `last_host_uuid`."""
        after = LIFE[operation_of(given.asked)].after
        assert after is not None, "an expunged VM has no state"
        vm = existing(tx, VmInstance, given.uuid)
        self._states.settle(tx, vm, after, **_where(after, given.place))
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
