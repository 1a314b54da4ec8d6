from __future__ import annotations

import pytest

from cairn.agents.protocol.vm import PowerState
from cairn.kernel.error import CairnError, ErrorKind
from cairn.services.vm.machine import ALLOWED, DONE, OBSERVED, Operation, check, observed
from cairn.services.vm.model import TRANSITIONAL, VmState


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("state", VmState)
def test_operation_is_refused_exactly_in_states_that_do_not_allow_it(operation: Operation, state: VmState) -> None:
    if state in ALLOWED[operation]:
        check(operation, state, "web")
        return
    with pytest.raises(CairnError, match=state.value) as caught:
        check(operation, state, "web")
    assert caught.value.code == "vm.wrong-state"
    assert caught.value.kind is ErrorKind.CONFLICT
    assert caught.value.details["allowed"] == [item.value for item in ALLOWED[operation]]


@pytest.mark.parametrize("operation", Operation)
def test_no_operation_begins_while_another_is_under_way(operation: Operation) -> None:
    assert not TRANSITIONAL & set(ALLOWED[operation])


@pytest.mark.parametrize(("operation", "state"), DONE.items())
def test_state_in_which_nothing_is_to_be_done_is_not_one_to_begin_from(operation: Operation, state: VmState) -> None:
    assert state not in ALLOWED[operation]


@pytest.mark.parametrize("state", sorted(TRANSITIONAL))
@pytest.mark.parametrize("power", PowerState)
def test_what_is_seen_of_a_vm_that_a_workflow_owns_changes_nothing(state: VmState, power: PowerState) -> None:
    assert observed(state, power) is None


@pytest.mark.parametrize(("state", "power"), OBSERVED)
def test_what_is_seen_settles_in_one_step(state: VmState, power: PowerState) -> None:
    true = observed(state, power)
    assert true is not None
    assert true is not state
    assert observed(true, power) is None or power is PowerState.CRASHED


def test_crashed_vm_is_stopped() -> None:
    assert observed(VmState.RUNNING, PowerState.CRASHED) is VmState.STOPPED
