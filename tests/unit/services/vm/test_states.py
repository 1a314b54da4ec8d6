from __future__ import annotations

import pytest

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.event import EventRow
from cairn.kernel.resource import existing
from cairn.kernel.store.store import Tx
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
