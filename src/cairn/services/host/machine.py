"""The life of a host: which state follows which event."""

from __future__ import annotations

from enum import StrEnum

from cairn.kernel.error import CairnError, ErrorKind
from cairn.services.host.model import HostState


class HostStateEvent(StrEnum):
    """The changes of a host's state that people may ask for."""

    ENABLE = "enable"
    DISABLE = "disable"
    MAINTAIN = "maintain"


TABLE: dict[tuple[HostState, HostStateEvent], HostState] = {
    (HostState.ENABLED, HostStateEvent.ENABLE): HostState.ENABLED,
    (HostState.ENABLED, HostStateEvent.DISABLE): HostState.DISABLED,
    (HostState.ENABLED, HostStateEvent.MAINTAIN): HostState.MAINTENANCE,
    (HostState.DISABLED, HostStateEvent.ENABLE): HostState.ENABLED,
    (HostState.DISABLED, HostStateEvent.DISABLE): HostState.DISABLED,
    (HostState.DISABLED, HostStateEvent.MAINTAIN): HostState.MAINTENANCE,
    (HostState.MAINTENANCE, HostStateEvent.ENABLE): HostState.ENABLED,
    (HostState.MAINTENANCE, HostStateEvent.DISABLE): HostState.DISABLED,
    (HostState.MAINTENANCE, HostStateEvent.MAINTAIN): HostState.MAINTENANCE,
}


def next_state(state: HostState, event: HostStateEvent) -> HostState:
    """The state after `event` (``host.wrong-state`` where it does not apply)."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise CairnError(
            "host.wrong-state", f"A host in state {state.value} cannot take {event.value!r}.", kind=ErrorKind.CONFLICT
        ) from None
