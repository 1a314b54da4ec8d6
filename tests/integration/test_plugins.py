"""A cloud without one of its plugins works, and without that feature; an operator's files change workflows."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.flows.world import broken_rules

import cairn.plugins
from cairn.bootstrap import load_plugins
from cairn.kernel.assembly import workflow_sources
from cairn.kernel.error import CairnError
from cairn.kernel.plugin.loader import _folders
from cairn.kernel.settings import load
from cairn.simulator.dials import Dial
from cairn.testing.cloud import Cloud, address
from cairn.testing.mortal import ORIGIN

PLUGINS = _folders(cairn.plugins)


async def a_zone_with_networks(cloud: Cloud) -> None:
    """What needs no plugin at all."""
    zone = await cloud.call("CreateZone", name="zone")
    l2 = await cloud.call("CreateL2VxlanNetwork", name="l2", zone_uuid=zone["uuid"], vni=7)
    l3 = await cloud.call("CreateL3Network", name="l3", l2_network_uuid=l2["uuid"])
    await cloud.call("AddIpRangeByNetworkCidr", l3_network_uuid=l3["uuid"], name="r", network_cidr="10.1.0.0/24")
    await cloud.call("CreateInstanceOffering", name="small", cpu_num=1, memory_size=64 << 20)
    await cloud.call("DeleteZone", uuid=zone["uuid"], delete_mode="Enforcing")
    assert await cloud.query("Zone") == []
    assert await cloud.query("L3Network") == []


@pytest.mark.parametrize("plugin", PLUGINS)
async def test_cloud_without_a_plugin_works_without_its_feature(plugin: str) -> None:
    async with Cloud.open(settings={"plugins_disabled": plugin}) as cloud:
        await a_zone_with_networks(cloud)
        shown = await cloud.call("GetPlugins")
        assert plugin in str(shown)
        if plugin in ("kvm", "backup_server"):  # simulated hosts do without these
            await cloud.make_site()
            vm = await cloud.create_vm("web")
            await cloud.call("DestroyVmInstance", uuid=vm["uuid"])
            await cloud.call("ExpungeVmInstance", uuid=vm["uuid"])
            assert broken_rules(cloud) == []


async def test_network_without_its_plugin_has_vms_without_dhcp() -> None:
    async with Cloud.open(settings={"plugins_disabled": "flat_network"}) as cloud:
        await cloud.make_site()
        await cloud.create_vm("web")
        assert [host.dhcp for host in cloud.world.hosts.values() if host.dhcp] == []


async def test_storage_without_its_plugin_cannot_be_added() -> None:
    async with Cloud.open(settings={"plugins_disabled": "local_storage"}) as cloud:
        zone = await cloud.call("CreateZone", name="zone")
        status, _ = await cloud.request(
            "POST",
            "/v1/primary-storage/local-storage",
            {"params": {"name": "l", "zoneUuid": zone["uuid"], "url": "/x"}},
        )
        assert status in (404, 405)


async def test_host_of_a_plugin_that_is_left_out_cannot_be_added() -> None:
    async with Cloud.open(settings={"plugins_disabled": "simulator"}) as cloud:
        status, _ = await cloud.request("POST", "/v1/hosts/simulators", {"params": {"name": "h"}})
        assert status in (404, 405)


async def test_hosts_whose_plugin_is_left_out_are_lost_by_name_the_others_are_watched_and_all_come_back_with_it() -> (
    None
):
    async with Cloud.open(hosts=3) as cloud:
        site = await cloud.make_site(hosts=2)
        await cloud.create_vm("web", host_uuid=site["host-1"])
        cluster = await cloud.call("CreateCluster", name="kvm", zone_uuid=site["zone"], hypervisor_type="KVM")
        kvm: dict[str, object] = {"cluster_uuid": cluster["uuid"], "username": "root", "password": "a password"}
        await cloud.call("AddKVMHost", name="other", management_ip=address(3), **kvm)
        saved = cloud.save()

    async with Cloud.open(saved=saved, settings={"plugins_disabled": "simulator"}) as cloud:
        await cloud.quiet(130)
        rows = {str(row["name"]): row for entity in ("Host", "BackupStorage") for row in await cloud.query(entity)}
        (vm,) = await cloud.query("VmInstance")
        assert {name: row["status"] for name, row in rows.items()} == {
            "sim-0001": "Disconnected",
            "sim-0002": "Disconnected",
            "backup": "Disconnected",
            "other": "Connected",
        }
        assert all(
            "The plugin that does may be left out" in str(rows[name]["statusReason"]) for name in ("sim-0001", "backup")
        )
        assert vm["state"] == "Unknown"
        cloud.agents.dials.turn(Dial(host="sim-0003", dead=True))
        await cloud.quiet(65)
        (other,) = await cloud.query("Host", "name=other")
        assert other["status"] == "Disconnected"
        saved = cloud.save()

    async with Cloud.open(saved=saved) as cloud:
        await cloud.quiet(700)
        assert await cloud.query("Host", "status!=Connected") == []
        assert [vm["state"] for vm in await cloud.query("VmInstance")] == ["Running"]
        assert broken_rules(cloud) == []


# An operator's workflow files.


def workflows(folder: str, text: str) -> dict[str, str]:
    """The settings of a cloud with such a file."""
    Path(folder, "operator.toml").write_text(text, encoding="utf-8")
    return {"workflow_dir": folder}


async def _steps(cloud: Cloud, workflow: str) -> list[str]:
    shown = await cloud.call("GetWorkflow", name=workflow)
    steps = shown["steps"]
    assert isinstance(steps, list)
    return [str(step["name"]) for step in steps]


async def test_operator_takes_a_step_out(tmp_path: Path) -> None:
    text = '[[change]]\nworkflow = "vm.create"\nremove = "network.apply"\n'
    async with Cloud.open(settings=workflows(str(tmp_path), text)) as cloud:
        assert "network.apply" not in await _steps(cloud, "vm.create")
        await cloud.make_site()
        await cloud.create_vm("web")
        assert [host.dhcp for host in cloud.world.hosts.values() if host.dhcp] == []


async def test_operator_puts_a_step_in(tmp_path: Path) -> None:
    text = '[[change]]\nworkflow = "vm.create"\nafter = "network.apply"\nstep = "network.apply"\n'
    async with Cloud.open(settings=workflows(str(tmp_path), text)) as cloud:
        steps = await _steps(cloud, "vm.create")
        place = steps.index("network.apply")
        assert steps[place + 1] == "network.apply"
        await cloud.make_site()
        await cloud.create_vm("web")
        assert broken_rules(cloud) == []


async def test_operator_puts_a_step_in_the_place_of_another(tmp_path: Path) -> None:
    text = '[[change]]\nworkflow = "vm.reboot"\nreplace = "vm.reboot-on-host"\nstep = "vm.resume-on-host"\n'
    async with Cloud.open(settings=workflows(str(tmp_path), text)) as cloud:
        assert await _steps(cloud, "vm.reboot") == ["vm.begin", "vm.resume-on-host", "vm.finish"]
        await cloud.make_site()
        vm = await cloud.create_vm("web", host_uuid=cloud.site["host-1"])
        await cloud.call("RebootVmInstance", uuid=vm["uuid"])
        assert cloud.world.hosts["sim-0001"].vms[str(vm["uuid"])].boots == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[[change]]\nworkflow = "vm.create"\nremove = "vm.prepare"\n', "host_need"),
        ('[[change]]\nworkflow = "vm.create"\nremove = "vm.dance"\n', "vm.dance"),
        ('[[change]]\nworkflow = "vm.levitate"\nremove = "vm.record"\n', "vm.levitate"),
        ('[[change]]\nworkflow = "vm.create"\nafter = "vm.record"\nstep = "vm.dance"\n', "vm.dance"),
        ('[[change]]\nworkflow = "vm.create"\n', "vm.create"),
        ("[[change\n", "operator.toml"),
    ],
)
async def test_list_that_does_not_fit_is_refused_at_start(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(CairnError) as error:
        async with Cloud.open(settings=workflows(str(tmp_path), text)):
            pass
    assert error.value.code.startswith("workflow.")
    assert reason in error.value.message


def test_workflow_files_in_the_data_folder_are_found_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "workflows.d"
    folder.mkdir()
    for name in ("20-site.toml", "10-site.toml", "notes.txt"):
        (folder / name).write_text("", encoding="utf-8")
    settings = load({}, data_dir=tmp_path)
    found = workflow_sources(load_plugins(settings), settings)
    assert [source.name for source in found[-2:]] == [str(folder / "10-site.toml"), str(folder / "20-site.toml")]


async def test_host_is_added_through_a_changed_workflow(tmp_path: Path) -> None:
    text = '[[change]]\nworkflow = "vm.destroy"\nremove = "network.release"\n'
    async with Cloud.open(settings=workflows(str(tmp_path), text)) as cloud:
        await cloud.make_site(hosts=1)
        vm = await cloud.create_vm("web")
        await cloud.call("DestroyVmInstance", uuid=vm["uuid"])
        assert [server.entries for server in cloud.world.hosts["sim-0001"].dhcp.values()] != []
        assert address(1) in str(await cloud.query("Host"))
        assert ORIGIN in str(await cloud.query("SimulatorHost"))
