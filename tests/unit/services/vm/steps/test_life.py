from __future__ import annotations

from typing import cast

import pytest

from cairn.kernel.error import CairnError
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.store.store import Tx
from cairn.services.host.model import Host
from cairn.services.ids import HostId
from cairn.services.vm.messages import StopVmInstance, VmCall
from cairn.services.vm.model import VmInstance, VmState
from cairn.services.vm.steps.life import Begin, BeginInput, BeginOutput, Former
from cairn.testing.cloud import Cloud


def begin(cloud: Cloud) -> tuple[Begin, BeginInput]:
    step = cast("Begin", cloud.node.context.flows.book.step("vm.begin"))
    asked: VmCall = StopVmInstance(uuid=cloud.site["vm"])
    return step, BeginInput(uuid=cloud.site["vm"], asked=asked)


async def state(cloud: Cloud) -> object:
    return (await cloud.query("VmInstance"))[0]["state"]


async def undo(cloud: Cloud, made: BeginOutput | None) -> None:
    step, given = begin(cloud)
    await cloud.node.context.store.write(lambda tx: step.undo(tx, given, made))


async def test_an_operation_that_is_undone_leaves_the_vm_as_it_was(cloud: Cloud) -> None:
    step, given = begin(cloud)
    made = await cloud.node.context.store.write(lambda tx: step.do(tx, given))
    assert made.former == Former(state=VmState.RUNNING, last_host_uuid=HostId(cloud.site["host-1"]))
    assert await state(cloud) == "Stopping"
    for _ in range(2):
        await undo(cloud, made)
        assert await state(cloud) == "Running"


async def test_a_state_that_came_since_outlives_the_undo(cloud: Cloud) -> None:
    step, given = begin(cloud)
    made = await cloud.node.context.store.write(lambda tx: step.do(tx, given))

    def seen(tx: Tx) -> None:
        tx.update(VmInstance, given.uuid, state=VmState.STOPPED)

    await cloud.node.context.store.write(seen)
    await undo(cloud, made)
    assert await state(cloud) == "Stopped"


async def test_an_operation_that_is_undone_on_a_host_that_was_lost_meanwhile_leaves_the_vm_unknown(
    cloud: Cloud,
) -> None:
    step, given = begin(cloud)

    def fn(tx: Tx) -> BeginOutput:
        made = step.do(tx, given)
        tx.update(Host, cloud.site["host-1"], status=MachineStatus.DISCONNECTED)
        return made

    await undo(cloud, await cloud.node.context.store.write(fn))
    assert await state(cloud) == "Unknown"


async def test_an_operation_that_never_began_has_nothing_to_undo(cloud: Cloud) -> None:
    await undo(cloud, None)
    assert await state(cloud) == "Running"


def test_a_vm_that_never_was_on_a_host_has_nothing_there() -> None:
    with pytest.raises(CairnError) as caught:
        _ = Former(state=VmState.CREATED, last_host_uuid=None).host
    assert caught.value.code == "vm.no-host"
