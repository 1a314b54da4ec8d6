"""A VM's life through the API, looked at in the API, in the database, and on the simulated hosts."""

from __future__ import annotations

import base64
from typing import cast

import pytest
from tests.flows.rules import SeenHost
from tests.flows.world import broken_rules, hosts

from cairn.agents.protocol.vm import PowerState
from cairn.testing.cloud import Cloud, Json, Refused


def place(cloud: Cloud, vm: Json) -> SeenHost:
    """The host that really runs the VM."""
    return next(host for host in hosts(cloud).values() if vm["uuid"] in host.vms)


async def state(cloud: Cloud, vm: Json) -> object:
    """The VM's state, as the API shows it."""
    (found,) = await cloud.query("VmInstance", f"uuid={vm['uuid']}")
    return found["state"]


async def test_vm_goes_through_all_states(cloud: Cloud) -> None:
    vm = await cloud.create_vm("web")
    uuid = vm["uuid"]
    assert vm["state"] == "Running"
    for api, expected in (
        ("StopVmInstance", "Stopped"),
        ("StartVmInstance", "Running"),
        ("RebootVmInstance", "Running"),
        ("StopVmInstance", "Stopped"),
        ("StartVmInstance", "Running"),
        ("DestroyVmInstance", "Destroyed"),
    ):
        await cloud.call(api, uuid=uuid)
        assert await state(cloud, vm) == expected
        assert broken_rules(cloud) == []
    await cloud.call("ExpungeVmInstance", uuid=uuid)
    assert await cloud.query("VmInstance") == []
    assert broken_rules(cloud) == []


async def test_vm_that_is_created_stopped_holds_no_host_and_starts_later(cloud: Cloud) -> None:
    vm = await cloud.create_vm("later", strategy="CreateStopped")
    assert vm["state"] == "Stopped"
    assert vm.get("hostUuid") is None
    assert broken_rules(cloud) == []
    await cloud.call("StartVmInstance", uuid=vm["uuid"])
    assert await state(cloud, vm) == "Running"
    assert broken_rules(cloud) == []


async def test_inventory_of_a_vm_shows_its_parts(cloud: Cloud) -> None:
    vm = await cloud.create_vm("web", description="front", cpu_num=2, memory_size=256 << 20)
    (nic,) = cast("list[Json]", vm["vmNics"])
    (volume,) = cast("list[Json]", vm["allVolumes"])
    assert (vm["cpuNum"], vm["memorySize"], vm["description"]) == (2, 256 << 20, "front")
    assert volume["uuid"] == vm["rootVolumeUuid"]
    assert nic["ip"] in {lease.ip for lease in place(cloud, vm).leases}
    assert nic["l3NetworkUuid"] == cloud.site["l3"]


async def test_operation_that_is_done_already_succeeds_and_does_nothing(cloud: Cloud) -> None:
    vm = await cloud.create_vm("web")
    boots = place(cloud, vm).vms[str(vm["uuid"])].boots
    await cloud.call("StartVmInstance", uuid=vm["uuid"])
    assert place(cloud, vm).vms[str(vm["uuid"])].boots == boots
    await cloud.call("StopVmInstance", uuid=vm["uuid"])
    await cloud.call("StopVmInstance", uuid=vm["uuid"])
    await cloud.call("DestroyVmInstance", uuid=vm["uuid"])
    await cloud.call("DestroyVmInstance", uuid=vm["uuid"])


async def test_paused_vm_stands_still_on_its_host_until_it_is_resumed(cloud: Cloud) -> None:
    vm = await cloud.create_vm("web")
    for _ in range(2):
        paused = await cloud.call("PauseVmInstance", uuid=vm["uuid"])
        assert (paused["state"], paused["hostUuid"]) == ("Paused", vm["hostUuid"])
        assert place(cloud, vm).vms[str(vm["uuid"])].state is PowerState.PAUSED
    assert broken_rules(cloud) == []
    for _ in range(2):
        assert (await cloud.call("ResumeVmInstance", uuid=vm["uuid"]))["state"] == "Running"
    assert broken_rules(cloud) == []


async def test_only_a_running_vm_is_paused_and_a_paused_one_is_not_rebooted_but_stopped(cloud: Cloud) -> None:
    vm = await cloud.create_vm("web")
    await cloud.call("PauseVmInstance", uuid=vm["uuid"])
    for api in ("RebootVmInstance", "StartVmInstance"):
        with pytest.raises(Refused) as refused:
            await cloud.call(api, uuid=vm["uuid"])
        assert refused.value.code == "vm.wrong-state"
    await cloud.call("StopVmInstance", uuid=vm["uuid"])
    for api in ("PauseVmInstance", "ResumeVmInstance"):
        with pytest.raises(Refused) as refused:
            await cloud.call(api, uuid=vm["uuid"])
        assert refused.value.code == "vm.wrong-state"
    assert broken_rules(cloud) == []


async def test_vm_keeps_its_address_and_disk_over_stop_and_start(cloud: Cloud) -> None:
    vm = await cloud.create_vm("web")
    before = place(cloud, vm).vms[str(vm["uuid"])]
    await cloud.call("StopVmInstance", uuid=vm["uuid"])
    again = await cloud.call("StartVmInstance", uuid=vm["uuid"])
    after = place(cloud, vm).vms[str(vm["uuid"])]
    assert again["vmNics"] == vm["vmNics"]
    assert [disk.path for disk in after.disks] == [disk.path for disk in before.disks]
    assert [nic.mac for nic in after.nics] == [nic.mac for nic in before.nics]


async def test_size_is_changed_while_stopped_and_holds_after_start(cloud: Cloud) -> None:
    vm = await cloud.create_vm("web")
    await cloud.call("StopVmInstance", uuid=vm["uuid"])
    await cloud.call("UpdateVmInstance", uuid=vm["uuid"], cpu_num=4, memory_size=512 << 20, name="bigger")
    await cloud.call("StartVmInstance", uuid=vm["uuid"])
    real = place(cloud, vm).vms[str(vm["uuid"])]
    assert (real.hardware.cpu_num, real.hardware.memory_size, real.hardware.name) == (4, 512 << 20, "bigger")
    assert broken_rules(cloud) == []


async def test_offering_gives_the_size(cloud: Cloud) -> None:
    offering = await cloud.call("CreateInstanceOffering", name="small", cpu_num=2, memory_size=64 << 20)
    fields = cloud.vm_fields("web", instance_offering_uuid=offering["uuid"])
    del fields["cpu_num"], fields["memory_size"]
    vm = await cloud.call("CreateVmInstance", **fields)
    assert (vm["cpuNum"], vm["memorySize"]) == (2, 64 << 20)


async def test_tags_at_creation_reach_the_host(cloud: Cloud) -> None:
    data = base64.b64encode(b"#cloud-config\n").decode()
    tags = ["hostname::front", f"userdata::{data}", "sshkey::ssh-ed25519 AAAAC3Nz me"]
    vm = await cloud.create_vm("web", system_tags=tags, user_tags=["production"])
    name = next(name for name, host in hosts(cloud).items() if vm["uuid"] in host.vms)
    (told,) = [entry for known in cloud.world.hosts[name].metadata.values() for entry in known.values()]
    assert (told.hostname, told.user_data, told.ssh_keys) == ("front", b"#cloud-config\n", ["ssh-ed25519 AAAAC3Nz me"])
    assert {lease.ip for lease in hosts(cloud)[name].leases} == {told.ip}
    assert len(await cloud.query("VmInstance", "__systemTag__=hostname::front", "__userTag__=production")) == 1
    assert await cloud.query("VmInstance", "__userTag__=staging") == []


async def test_tags_by_the_api_are_found_changed_and_deleted(cloud: Cloud) -> None:
    vm = await cloud.create_vm("web")
    where = {"resource_type": "VmInstance", "resource_uuid": vm["uuid"]}
    made = await cloud.call("CreateUserTag", tag="blue", **where)
    again = await cloud.call("CreateUserTag", tag="blue", **where)
    assert again["uuid"] == made["uuid"]
    assert [row["uuid"] for row in await cloud.query("VmInstance", "__userTag__=blue")] == [vm["uuid"]]
    await cloud.call("DeleteTag", uuid=made["uuid"])
    assert await cloud.query("VmInstance", "__userTag__=blue") == []


async def test_host_name_by_a_later_tag_is_used_from_the_next_start_on(cloud: Cloud) -> None:
    vm = await cloud.create_vm("web")
    await cloud.call("CreateSystemTag", resource_type="VmInstance", resource_uuid=vm["uuid"], tag="hostname::renamed")
    await cloud.call("StopVmInstance", uuid=vm["uuid"])
    await cloud.call("StartVmInstance", uuid=vm["uuid"])
    assert [entry.hostname for entry in place(cloud, vm).metadata] == ["renamed"]


async def test_static_address_is_given(cloud: Cloud) -> None:
    tag = f"staticIp::{cloud.site['l3']}::10.89.7.7"
    vm = await cloud.create_vm("web", system_tags=[tag])
    assert cast("list[Json]", vm["vmNics"])[0]["ip"] == "10.89.7.7"
    with pytest.raises(Refused) as refused:
        await cloud.create_vm("twin", system_tags=[tag])
    assert "10.89.7.7" in refused.value.detail
    assert broken_rules(cloud) == []


async def test_console_is_shown_while_the_vm_runs(cloud: Cloud) -> None:
    vm = await cloud.create_vm("web")
    shown = await cloud.call("GetVmConsoleAddress", uuid=vm["uuid"])
    assert "web login:" in str(shown)
    await cloud.call("StopVmInstance", uuid=vm["uuid"])
    with pytest.raises(Refused) as refused:
        await cloud.call("GetVmConsoleAddress", uuid=vm["uuid"])
    assert refused.value.code == "vm.wrong-state"


async def test_vm_is_placed_where_it_is_asked_for(cloud: Cloud) -> None:
    for host in ("host-1", "host-2"):
        vm = await cloud.create_vm("web", host_uuid=cloud.site[host])
        assert vm["hostUuid"] == cloud.site[host] == place(cloud, vm).host


async def test_events_tell_a_vms_life(cloud: Cloud) -> None:
    vm = await cloud.create_vm("web")
    await cloud.call("StopVmInstance", uuid=vm["uuid"])
    await cloud.call("StartVmInstance", uuid=vm["uuid"])
    await cloud.call("DestroyVmInstance", uuid=vm["uuid"])
    await cloud.call("ExpungeVmInstance", uuid=vm["uuid"])
    told = await cloud.query("Event", f"resourceUuid={vm['uuid']}", "name=vm.state-changed")
    told.sort(key=lambda event: cast("int", event["sequence"]))
    states = [str(cast("Json", event["content"])["state"]) for event in told]
    assert states == ["Running", "Stopping", "Stopped", "Starting", "Running", "Destroying", "Destroyed", "Expunging"]
    assert all(event["jobUuid"] for event in told)
