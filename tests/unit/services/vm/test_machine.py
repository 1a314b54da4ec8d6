from __future__ import annotations

import pytest

from cairn.agents.protocol.vm import PowerState
from cairn.kernel.bus.message import message_types
from cairn.kernel.error import CairnError, ErrorKind
from cairn.services.vm.machine import (
    CHANGES,
    LIFE,
    LOST_WITH_HOST,
    OBSERVED,
    TRANSITIONAL,
    Change,
    Operation,
    check,
    observed,
    operation_of,
)
from cairn.services.vm.messages import CreateVmInstance, CreationStrategy, StopVmInstance
from cairn.services.vm.model import VmState

UUID = "0" * 32


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("state", VmState)
def test_operation_is_refused_exactly_in_states_that_do_not_allow_it(operation: Operation, state: VmState) -> None:
    allowed = LIFE[operation].allowed
    if state in allowed:
        check(operation, state, "web")
        return
    with pytest.raises(CairnError, match=state.value) as caught:
        check(operation, state, "web")
    assert caught.value.code == "vm.wrong-state"
    assert caught.value.kind is ErrorKind.CONFLICT
    assert caught.value.details["allowed"] == [item.value for item in allowed]


@pytest.mark.parametrize("change", LIFE.values(), ids=LIFE)
def test_no_operation_begins_or_ends_while_another_is_under_way(change: Change) -> None:
    assert not TRANSITIONAL & {*change.allowed, change.after, change.done}


@pytest.mark.parametrize("change", LIFE.values(), ids=LIFE)
def test_state_in_which_nothing_is_to_be_done_is_where_it_ends_and_not_where_it_begins(change: Change) -> None:
    assert change.done not in change.allowed
    assert change.done in (None, change.after)


@pytest.mark.parametrize("operation", [one for one in Operation if one is not Operation.CREATE_STOPPED])
def test_each_operation_is_the_verb_of_a_message(operation: Operation) -> None:
    assert f"vm.{operation.value}" in message_types()


def test_the_message_says_which_operation_it_is() -> None:
    def create(strategy: CreationStrategy) -> CreateVmInstance:
        return CreateVmInstance(name="web", image_uuid=UUID, l3_network_uuids=[UUID], strategy=strategy)

    assert operation_of(create(CreationStrategy.INSTANT_START)) is Operation.CREATE
    assert operation_of(create(CreationStrategy.CREATE_STOPPED)) is Operation.CREATE_STOPPED
    assert operation_of(StopVmInstance(uuid=UUID)) is Operation.STOP


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


def test_a_transitional_state_is_left_for_where_it_came_from_or_leads_or_when_the_host_is_lost_only() -> None:
    for before, after in CHANGES:
        if before in TRANSITIONAL:
            ends = {
                end for change in LIFE.values() if change.during is before for end in (*change.allowed, change.after)
            }
            assert after in ends or (after is VmState.UNKNOWN and ends & set(LOST_WITH_HOST))


def test_what_comes_after_a_vm_was_destroyed_is_its_end_or_its_recovery() -> None:
    after_it = {VmState.EXPUNGING, VmState.RECOVERING}
    assert {after for before, after in CHANGES if before is VmState.DESTROYED} == after_it


def test_a_vm_is_unknown_only_when_its_host_is_lost() -> None:
    into = {before for before, after in CHANGES if after is VmState.UNKNOWN}
    assert into - TRANSITIONAL == set(LOST_WITH_HOST)
