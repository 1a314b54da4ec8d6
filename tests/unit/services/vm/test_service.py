from __future__ import annotations

from collections.abc import Callable

import pytest

from cairn.services.vm.machine import LIFE, operation_of
from cairn.services.vm.messages import (
    DestroyVmInstance,
    ExpungeVmInstance,
    ListVmNetworks,
    PauseVmInstance,
    RebootVmInstance,
    ResumeVmInstance,
    StartVmInstance,
    StopVmInstance,
    VmCall,
)
from cairn.services.vm.model import VmInstance, VmState
from cairn.services.vm.service import nothing_to_do
from cairn.testing.cloud import Cloud, Refused

CALLS: list[Callable[..., VmCall]] = [
    StartVmInstance,
    StopVmInstance,
    RebootVmInstance,
    PauseVmInstance,
    ResumeVmInstance,
    DestroyVmInstance,
    ExpungeVmInstance,
]


def row_of(cloud: Cloud) -> VmInstance:
    vm = cloud.read_now(lambda tx: tx.get(VmInstance, cloud.site["vm"]))
    assert vm is not None
    return vm


async def in_state(cloud: Cloud, state: VmState) -> None:
    await cloud.node.context.store.write(lambda tx: tx.update(VmInstance, cloud.site["vm"], state=state))


async def test_there_is_nothing_to_do_exactly_where_the_operation_would_lead(cloud: Cloud) -> None:
    for state in VmState:
        await in_state(cloud, state)
        for call in CALLS:
            asked = call(uuid=cloud.site["vm"])
            idle = cloud.read_now(lambda tx: nothing_to_do(tx, asked))  # noqa: B023
            assert idle is (state is LIFE[operation_of(asked)].done), (state, asked)


@pytest.mark.parametrize("call", CALLS)
async def test_a_vm_that_is_gone_counts_as_destroyed_and_as_nothing_else(
    cloud: Cloud, call: Callable[..., VmCall]
) -> None:
    asked = call(uuid="f" * 32)
    assert cloud.read_now(lambda tx: nothing_to_do(tx, asked)) is (call is DestroyVmInstance)


async def test_a_running_vm_is_renamed_and_not_resized(cloud: Cloud) -> None:
    vm = cloud.site["vm"]
    await cloud.call("UpdateVmInstance", uuid=vm, name="front", description="first")
    before = row_of(cloud)
    for size in ({"cpu_num": 2}, {"memory_size": 64 << 20}):
        with pytest.raises(Refused, match="can be changed while it is Stopped") as caught:
            await cloud.call("UpdateVmInstance", uuid=vm, name="other", **size)
        assert caught.value.code == "vm.wrong-state"

    assert (before.name, before.description, before.cpu_num) == ("front", "first", 1)
    assert row_of(cloud) == before


async def test_a_stopped_vm_is_resized_by_what_is_given(cloud: Cloud) -> None:
    vm = cloud.site["vm"]
    await cloud.call("StopVmInstance", uuid=vm)
    for _ in range(2):
        await cloud.call("UpdateVmInstance", uuid=vm, memory_size=64 << 20)

    row = row_of(cloud)
    assert (row.name, row.cpu_num, row.memory_size) == ("web", 1, 64 << 20)


async def test_a_vm_that_is_not_there_cannot_be_changed(cloud: Cloud) -> None:
    with pytest.raises(Refused) as caught:
        await cloud.call("UpdateVmInstance", uuid="f" * 32, name="x")
    assert caught.value.code == "vm.not-found"


async def test_the_console_is_the_hosts_and_a_vm_on_no_host_has_none(cloud: Cloud) -> None:
    vm = cloud.site["vm"]
    shown = await cloud.call("GetVmConsoleAddress", uuid=vm)
    await cloud.call("StopVmInstance", uuid=vm)
    sent = len(cloud.transport.requests)
    with pytest.raises(Refused, match="start it first") as caught:
        await cloud.call("GetVmConsoleAddress", uuid=vm)

    assert (shown["protocol"], "web login:" in str(shown["consoleLog"])) == ("vnc", True)
    assert caught.value.code == "vm.wrong-state"
    assert len(cloud.transport.requests) == sent


async def test_networks_of_a_host_are_those_of_the_vms_on_it(cloud: Cloud) -> None:
    off = await cloud.create_vm("off", strategy="CreateStopped")
    bus = cloud.node.context.bus
    listed = await cloud.clock.run(bus.call(ListVmNetworks(host_uuid=cloud.site["host-1"])))
    elsewhere = await cloud.clock.run(bus.call(ListVmNetworks(host_uuid="f" * 32)))

    assert off["state"] == "Stopped"
    (vm,) = listed.vms
    assert (vm.uuid, vm.host_uuid, len(vm.nics)) == (cloud.site["vm"], cloud.site["host-1"], 1)
    assert elsewhere.vms == []
