from __future__ import annotations

import pytest

from cairn.services.host.machine import HostStateEvent, next_state
from cairn.services.host.model import HostState


@pytest.mark.parametrize("state", HostState)
@pytest.mark.parametrize("event", HostStateEvent)
def test_every_event_has_an_answer_and_repeating_it_changes_nothing(state: HostState, event: HostStateEvent) -> None:
    after = next_state(state, event)
    assert next_state(after, event) is after


def test_events_lead_where_their_names_say() -> None:
    assert {next_state(state, HostStateEvent.ENABLE) for state in HostState} == {HostState.ENABLED}
    assert {next_state(state, HostStateEvent.DISABLE) for state in HostState} == {HostState.DISABLED}
    assert {next_state(state, HostStateEvent.MAINTAIN) for state in HostState} == {HostState.MAINTENANCE}
