"""A report that the network held up told of a VM's end after the VM was started again, and was believed."""

from __future__ import annotations

from cairn.services.vm.messages import ObserveVm
from cairn.testing.cloud import Cloud


async def _report(cloud: Cloud, vm: str) -> None:
    report = ObserveVm(vm=vm, host=cloud.site["host-1"], power="Stopped", reason="crashed")
    await cloud.clock.run(cloud.node.context.bus.call(report))


async def _state(cloud: Cloud, vm: str) -> object:
    return (await cloud.query("VmInstance", f"uuid={vm}"))[0]["state"]


async def test_report_of_a_vms_end_that_comes_after_its_next_start_changes_nothing() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        vm = str((await cloud.create_vm("web"))["uuid"])

        await _report(cloud, vm)

        assert await _state(cloud, vm) == "Running"


async def test_report_of_a_vms_end_is_taken_when_the_host_confirms_it() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        vm = str((await cloud.create_vm("web"))["uuid"])
        await cloud.quiet(1.0)
        assert cloud.agents.kill_vm("sim-0001", vm)

        await _report(cloud, vm)

        assert await _state(cloud, vm) == "Stopped"
