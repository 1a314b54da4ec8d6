"""The trial, tried with the example plugin's step in the workflow of a start."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from cairn.testing.cloud import Cloud
from cairn.testing.trial import Case, Fault, Trial, find_cases, try_workflow


async def stopped_vm(cloud: Cloud) -> None:
    await cloud.make_site()
    vm = await cloud.create_vm("web", strategy="CreateStopped", system_tags=["ticket::1"])
    cloud.site["vm"] = str(vm["uuid"])


def its_uuid(cloud: Cloud) -> Mapping[str, object]:
    return {"uuid": cloud.site["vm"]}


TRIAL = Trial(
    workflow="vm.start",
    api="StartVmInstance",
    prepare=stopped_vm,
    fields=its_uuid,
    settings={"plugins_extra": "cairn_audit.manifest"},
    hosts=1,
)


async def test_cases_are_each_step_and_each_write() -> None:
    cases = await find_cases(TRIAL)
    assert Case(fault=Fault.AFTER, step="audit.note-start") in cases
    assert Case(fault=Fault.UNDO, step="vm.begin") in cases
    assert Case(fault=Fault.KILLED, write=1, moment="after") in cases
    assert len({str(case) for case in cases}) == len(cases)


async def test_no_case_waits_for_the_undo_of_steps_that_are_committed_with_the_end() -> None:
    cases = await find_cases(TRIAL)
    assert {"vm.finish", "audit.note-start"}.isdisjoint({case.step for case in cases if case.fault is Fault.UNDO})


@pytest.mark.parametrize(
    "case",
    [
        Case(fault=Fault.NOTHING),
        Case(fault=Fault.REPEATED),
        Case(fault=Fault.BEFORE, step="audit.note-start"),
        Case(fault=Fault.AFTER, step="audit.note-start"),
        Case(fault=Fault.UNDO, step="vm.start-on-host"),
        Case(fault=Fault.UNDO, step="vm.begin"),
        Case(fault=Fault.KILLED, write=1, moment="before"),
        Case(fault=Fault.KILLED, write=2, moment="after"),
    ],
    ids=str,
)
async def test_a_workflow_that_undoes_itself_passes(case: Case) -> None:
    await try_workflow(TRIAL, case)


async def test_what_is_left_behind_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from cairn.services.vm.steps.life import Begin

    monkeypatch.setattr(Begin, "undo", lambda self, tx, given, made: None)
    with pytest.raises(AssertionError, match=r"not as before: .*Starting"):
        await try_workflow(TRIAL, Case(fault=Fault.BEFORE, step="audit.note-start"))


async def test_fault_that_is_never_met_is_told() -> None:
    with pytest.raises(AssertionError, match="it never came to that"):
        await try_workflow(TRIAL, Case(fault=Fault.KILLED, write=99, moment="after"))
