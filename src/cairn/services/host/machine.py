"""The life of a host: which state follows which event."""

from __future__ import annotations

from enum import StrEnum

from cairn.kernel.error import CairnError, ErrorKind
from cairn.services.host.model import HostState


class StateEvent(StrEnum):
    """What people ask of a host's state."""

    ENABLE = "enable"
    DISABLE = "disable"
    MAINTAIN = "maintain"


TABLE: dict[tuple[HostState, StateEvent], HostState] = {
    (HostState.ENABLED, StateEvent.ENABLE): HostState.ENABLED,
    (HostState.ENABLED, StateEvent.DISABLE): HostState.DISABLED,
    (HostState.ENABLED, StateEvent.MAINTAIN): HostState.MAINTENANCE,
    (HostState.DISABLED, StateEvent.ENABLE): HostState.ENABLED,
    (HostState.DISABLED, StateEvent.DISABLE): HostState.DISABLED,
    (HostState.DISABLED, StateEvent.MAINTAIN): HostState.MAINTENANCE,
    (HostState.MAINTENANCE, StateEvent.ENABLE): HostState.ENABLED,
    (HostState.MAINTENANCE, StateEvent.DISABLE): HostState.DISABLED,
    (HostState.MAINTENANCE, StateEvent.MAINTAIN): HostState.MAINTENANCE,
}


def next_state(state: HostState, event: StateEvent) -> HostState:
    """The state after `event` (``host.wrong-state`` where it does not apply)."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise CairnError(
            "host.wrong-state", f"A host in state {state.value} cannot take {event.value!r}.", kind=ErrorKind.CONFLICT
        ) from None
