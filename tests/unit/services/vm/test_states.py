from __future__ import annotations

import pytest

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.event import EventRow
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.resource import existing
from cairn.kernel.store.store import Tx
from cairn.services.host.model import Host
from cairn.services.vm.machine import LOST_WITH_HOST
from cairn.services.vm.model import VmInstance, VmState
from cairn.services.vm.states import VmStates
from cairn.testing.cloud import Cloud


async def change(cloud: Cloud, state: VmState) -> None:
    context = cloud.node.context
    states = VmStates(context.events)

    def fn(tx: Tx) -> None:
        states.change(tx, existing(tx, VmInstance, cloud.site["vm"]), state)

    await context.store.write(fn)


async def test_change_that_nothing_makes_is_refused_with_the_vms_story(cloud: Cloud) -> None:
    await cloud.call("StopVmInstance", uuid=cloud.site["vm"])

    with pytest.raises(CairnError) as caught:
        await change(cloud, VmState.REBOOTING)

    error = caught.value
    assert (error.code, error.kind) == ("vm.impossible-change", ErrorKind.INTERNAL)
    assert "Stopped, and nothing brings it from there to Rebooting" in error.message
    told = str(error.operator).removeprefix("What happened to it: ").split("; ")
    story = [line.split(" ", 2)[2].split(" (")[0] for line in told]
    assert story == ["Starting to Running", "Running to Stopping", "Stopping to Stopped"]
    assert "(job " in str(error.operator)
    assert (await cloud.query("VmInstance"))[0]["state"] == "Stopped"


async def test_change_that_a_hypervisor_or_an_operation_makes_is_told(cloud: Cloud) -> None:
    await change(cloud, VmState.UNKNOWN)
    await change(cloud, VmState.PAUSED)
    events = cloud.read_now(lambda tx: tx.find(EventRow, name="vm.state-changed", order_by="sequence"))
    assert [event.content["state"] for event in events] == ["Running", "Unknown", "Paused"]


@pytest.mark.parametrize("status", MachineStatus)
@pytest.mark.parametrize("state", [VmState.RUNNING, VmState.PAUSED, VmState.STOPPED])
async def test_what_an_operation_leaves_on_a_host_that_is_lost_is_unknown(
    cloud: Cloud, state: VmState, status: MachineStatus
) -> None:
    context, web = cloud.node.context, cloud.site["vm"]

    def fn(tx: Tx) -> VmInstance:
        tx.update(Host, cloud.site["host-1"], status=status)
        tx.update(VmInstance, web, state=VmState.STOPPING if state is VmState.STOPPED else VmState.RESUMING)
        VmStates(context.events).settle(tx, existing(tx, VmInstance, web), state)
        return existing(tx, VmInstance, web)

    vm = await context.store.write(fn)

    lost = status is MachineStatus.DISCONNECTED and state in LOST_WITH_HOST
    assert (vm.state, vm.state_reason) == ((VmState.UNKNOWN, "its host was lost") if lost else (state, None))
