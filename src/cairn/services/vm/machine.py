"""The life of a VM: what can be done to it in which state, and what follows when the hypervisor says otherwise.

Pure: no I/O, no time. Transitional states belong to the workflow that set them; what the hypervisor reports of such a VM is
left to that workflow.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from msgspec import Struct

from cairn.agents.protocol.vm import PowerState
from cairn.kernel.bus.message import tag_of
from cairn.kernel.error import CairnError, ErrorKind
from cairn.services.vm.messages import CreateVmInstance, CreationStrategy, VmCall
from cairn.services.vm.model import VmState


class Operation(StrEnum):
    """An operation on a VM, named by the verb of its message's tag."""

    CREATE = "create"
    CREATE_STOPPED = "create-stopped"
    START = "start"
    STOP = "stop"
    REBOOT = "reboot"
    PAUSE = "pause"
    RESUME = "resume"
    DESTROY = "destroy"
    EXPUNGE = "expunge"
    RECOVER = "recover"


class Change(Struct, frozen=True):
    """The states that an operation takes a VM through."""

    allowed: tuple[VmState, ...]  #: the operation may begin in these
    during: VmState
    after: VmState | None  #: None: the VM is gone
    done: VmState | None = None  #: in this state there is nothing to do


LIFE: dict[Operation, Change] = {
    Operation.CREATE: Change((), VmState.STARTING, VmState.RUNNING),
    Operation.CREATE_STOPPED: Change((), VmState.STARTING, VmState.STOPPED),
    Operation.START: Change(
        (VmState.CREATED, VmState.STOPPED, VmState.CRASHED), VmState.STARTING, VmState.RUNNING, VmState.RUNNING
    ),
    Operation.STOP: Change(
        (VmState.RUNNING, VmState.PAUSED, VmState.UNKNOWN, VmState.CRASHED),
        VmState.STOPPING,
        VmState.STOPPED,
        VmState.STOPPED,
    ),
    Operation.REBOOT: Change((VmState.RUNNING, VmState.CRASHED), VmState.REBOOTING, VmState.RUNNING),
    Operation.PAUSE: Change((VmState.RUNNING,), VmState.PAUSING, VmState.PAUSED, VmState.PAUSED),
    Operation.RESUME: Change((VmState.PAUSED,), VmState.RESUMING, VmState.RUNNING, VmState.RUNNING),
    Operation.DESTROY: Change(
        (VmState.CREATED, VmState.RUNNING, VmState.STOPPED, VmState.PAUSED, VmState.UNKNOWN, VmState.CRASHED),
        VmState.DESTROYING,
        VmState.DESTROYED,
        VmState.DESTROYED,
    ),
    Operation.EXPUNGE: Change((VmState.DESTROYED,), VmState.EXPUNGING, None),
    Operation.RECOVER: Change((VmState.DESTROYED,), VmState.RECOVERING, VmState.STOPPED, VmState.STOPPED),
}

#: states that a running workflow owns
TRANSITIONAL = frozenset(change.during for change in LIFE.values())

#: states in which a VM is on no host
ON_NO_HOST = frozenset({VmState.CREATED, VmState.STOPPED, VmState.DESTROYED})

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

#: states that become Unknown when the VM's host is lost
LOST_WITH_HOST = (VmState.RUNNING, VmState.PAUSED)


def _changes() -> Iterator[tuple[VmState, VmState]]:
    for change in LIFE.values():
        for state in change.allowed:
            yield state, change.during
            yield change.during, state  # it is undone
        if change.after is not None:
            yield change.during, change.after
        if not {*change.allowed, change.after}.isdisjoint(LOST_WITH_HOST):
            yield change.during, VmState.UNKNOWN  # its host was lost meanwhile
    yield from ((state, true) for (state, _), true in OBSERVED.items())
    yield from ((state, VmState.UNKNOWN) for state in LOST_WITH_HOST)


#: all (from, to) that there are
CHANGES = frozenset(_changes())


def operation_of(asked: VmCall) -> Operation:
    """The operation that a call asks for."""
    if isinstance(asked, CreateVmInstance) and asked.strategy is CreationStrategy.CREATE_STOPPED:
        return Operation.CREATE_STOPPED
    return Operation(tag_of(asked).removeprefix("vm."))


def check(operation: Operation, state: VmState, name: str) -> None:
    """Refuse an operation that the state does not allow (``vm.wrong-state``, with the states that would fit)."""
    allowed = LIFE[operation].allowed
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


def observed(state: VmState, power: PowerState) -> VmState | None:
    """The true state when a hypervisor says `power` of a VM that is `state` in the database; None: leave it."""
    return OBSERVED.get((state, power))
