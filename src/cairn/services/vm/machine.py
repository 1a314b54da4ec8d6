"""The life of a VM: which operations its states allow, and what follows when the hypervisor says otherwise.

Pure: no I/O, no time. Transitional states belong to the workflow that set them; what the hypervisor reports of such a VM is
left to that workflow.
"""

from __future__ import annotations

from enum import StrEnum

from cairn.agents.protocol.vm import PowerState
from cairn.kernel.error import CairnError, ErrorKind
from cairn.services.vm.model import TRANSITIONAL, VmState


class Operation(StrEnum):
    """What can be done to a VM."""

    START = "start"
    STOP = "stop"
    REBOOT = "reboot"
    DESTROY = "destroy"
    EXPUNGE = "expunge"


ALLOWED: dict[Operation, tuple[VmState, ...]] = {
    Operation.START: (VmState.CREATED, VmState.STOPPED, VmState.CRASHED),
    Operation.STOP: (VmState.RUNNING, VmState.PAUSED, VmState.UNKNOWN, VmState.CRASHED),
    Operation.REBOOT: (VmState.RUNNING, VmState.CRASHED),
    Operation.DESTROY: (
        VmState.CREATED,
        VmState.RUNNING,
        VmState.STOPPED,
        VmState.PAUSED,
        VmState.UNKNOWN,
        VmState.CRASHED,
    ),
    Operation.EXPUNGE: (VmState.DESTROYED,),
}

#: states in which an operation has nothing to do
DONE: dict[Operation, VmState] = {
    Operation.START: VmState.RUNNING,
    Operation.STOP: VmState.STOPPED,
    Operation.DESTROY: VmState.DESTROYED,
}


def check(operation: Operation, state: VmState, name: str) -> None:
    """Refuse an operation that the state does not allow (``vm.wrong-state``, with the states that would do)."""
    allowed = ALLOWED[operation]
    if state in allowed:
        return
    hint = " Wait for the operation that is under way." if state in TRANSITIONAL else ""
    raise CairnError(
        "vm.wrong-state",
        f"The VM {name} is {state.value} and cannot {operation.value}; it can when it is "
        f"{', '.join(item.value for item in allowed)}.{hint}",
        kind=ErrorKind.CONFLICT,
        details={"state": state.value, "allowed": [item.value for item in allowed]},
    )


#: (state in the database, what the hypervisor says) -> the state that is true; absent pairs agree, or belong to a workflow
OBSERVED: dict[tuple[VmState, PowerState], VmState] = {
    (VmState.RUNNING, PowerState.STOPPED): VmState.STOPPED,
    (VmState.RUNNING, PowerState.CRASHED): VmState.STOPPED,
    (VmState.RUNNING, PowerState.PAUSED): VmState.PAUSED,
    (VmState.PAUSED, PowerState.RUNNING): VmState.RUNNING,
    (VmState.PAUSED, PowerState.STOPPED): VmState.STOPPED,
    (VmState.PAUSED, PowerState.CRASHED): VmState.STOPPED,
    (VmState.UNKNOWN, PowerState.RUNNING): VmState.RUNNING,
    (VmState.UNKNOWN, PowerState.STOPPED): VmState.STOPPED,
    (VmState.UNKNOWN, PowerState.CRASHED): VmState.STOPPED,
    (VmState.UNKNOWN, PowerState.PAUSED): VmState.PAUSED,
    (VmState.STOPPED, PowerState.RUNNING): VmState.RUNNING,
    (VmState.STOPPED, PowerState.PAUSED): VmState.PAUSED,
    (VmState.CRASHED, PowerState.RUNNING): VmState.RUNNING,
    (VmState.CRASHED, PowerState.STOPPED): VmState.STOPPED,
}


def observed(state: VmState, power: PowerState) -> VmState | None:
    """The true state when a hypervisor says `power` of a VM that is `state` in the database; None: leave it."""
    return OBSERVED.get((state, power))
