from __future__ import annotations

import pytest

from cairn.agents.protocol.wire import Report
from cairn.kernel.agent.reports import Reports


def report(kind: str) -> Report:
    fields = dict.fromkeys(Report.__struct_fields__, "x")
    return Report(**{**fields, "kind": kind})  # type: ignore[arg-type]


async def test_each_kind_of_report_goes_to_its_listener() -> None:
    reports, states, disks = Reports(), list[Report](), list[Report]()

    async def hear_states(one: Report) -> None:
        states.append(one)

    async def hear_disks(one: Report) -> None:
        disks.append(one)

    reports.route("vm.state", hear_states)
    reports.route("disk.full", hear_disks)
    await reports.deliver(report("disk.full"))
    await reports.deliver(report("vm.state"))
    assert [one.kind for one in states] == ["vm.state"]
    assert [one.kind for one in disks] == ["disk.full"]


async def test_a_kind_that_nobody_listens_to_is_let_go() -> None:
    await Reports().deliver(report("new.kind"))


async def test_what_a_listener_raises_reaches_the_agent() -> None:
    reports = Reports()

    async def fail(one: Report) -> None:
        raise ValueError("not now")

    reports.route("vm.state", fail)
    with pytest.raises(ValueError, match="not now"):
        await reports.deliver(report("vm.state"))


def test_a_kind_has_one_listener() -> None:
    reports = Reports()

    async def hear(one: Report) -> None:
        pass

    reports.route("vm.state", hear)
    with pytest.raises(TypeError, match=r"vm\.state"):
        reports.route("vm.state", hear)
