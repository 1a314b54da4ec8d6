"""Each rule can fail: on a cloud in which one thing was put wrong."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest
from msgspec.structs import replace
from tests.flows import rules
from tests.flows.rules import RULES, Hosts, Row, Rows, SeenHost
from tests.flows.world import database, hosts

from cairn.agents.protocol.vm import PowerState
from cairn.testing.cloud import Cloud

Wrong = Callable[[Rows, Hosts], None]


@pytest.fixture
async def world() -> AsyncIterator[tuple[Rows, Hosts]]:
    """A cloud with a VM that runs and one that is stopped."""
    async with Cloud.open(hosts=2) as cloud:
        await cloud.make_site()
        await cloud.create_vm("web", host_uuid=cloud.site["host-1"], user_tags=["mine"])
        stopped = await cloud.create_vm("idle", host_uuid=cloud.site["host-1"])
        await cloud.call("StopVmInstance", uuid=stopped["uuid"])
        yield copy.deepcopy((database(cloud), hosts(cloud)))


def _vm(rows: Rows, name: str = "web") -> Row:
    return next(vm for vm in rows["vm_instance"].values() if vm["name"] == name)


def _first(rows: Rows, table: str) -> Row:
    return next(iter(rows[table].values()))


def _host(there: Hosts) -> SeenHost:
    return there["sim-0001"]


def _open_run(rows: Rows, _: Hosts) -> None:
    rows["flow_run"]["x"] = {"workflow": "vm.create"}


def _stuck(rows: Rows, _: Hosts) -> None:
    _vm(rows, "idle")["state"] = "Starting"


def _stuck_host(rows: Rows, _: Hosts) -> None:
    _first(rows, "host")["status"] = "Connecting"


def _dead_vm(rows: Rows, there: Hosts) -> None:
    del _host(there).vms[str(_vm(rows)["uuid"])]


def _strange_vm(rows: Rows, there: Hosts) -> None:
    _host(there).vms["x"] = _host(there).vms[str(_vm(rows)["uuid"])]


def _vm_that_should_not_run(rows: Rows, there: Hosts) -> None:
    _host(there).vms[str(_vm(rows, "idle")["uuid"])] = _host(there).vms[str(_vm(rows)["uuid"])]


def _vm_elsewhere(rows: Rows, there: Hosts) -> None:
    uuid = str(_vm(rows)["uuid"])
    there["sim-0002"].vms[uuid] = _host(there).vms.pop(uuid)


def _vm_that_stands_still(rows: Rows, there: Hosts) -> None:
    _host(there).vms[str(_vm(rows)["uuid"])].state = PowerState.PAUSED


def _other_memory(rows: Rows, there: Hosts) -> None:
    uuid = str(_vm(rows)["uuid"])
    domain = _host(there).vms[uuid]
    _host(there).vms[uuid] = replace(domain, hardware=replace(domain.hardware, memory_size=1))


def _lost_file(_: Rows, there: Hosts) -> None:
    _host(there).volumes.popitem()


def _strange_file(_: Rows, there: Hosts) -> None:
    _host(there).volumes["/x"] = next(iter(_host(there).volumes.values()))


def _file_elsewhere(_: Rows, there: Hosts) -> None:
    path, file = _host(there).volumes.popitem()
    there["sim-0002"].volumes[path] = file


def _lost_cache(_: Rows, there: Hosts) -> None:
    _host(there).images.clear()


def _strange_cache(rows: Rows, _: Hosts) -> None:
    rows["image_cache"].clear()


def _lost_copy(_: Rows, there: Hosts) -> None:
    there["backup"].images.clear()


def _strange_copy(rows: Rows, _: Hosts) -> None:
    rows["image_backup_storage_ref"].clear()


def _lost_lease(_: Rows, there: Hosts) -> None:
    _host(there).leases.clear()


def _other_lease(_: Rows, there: Hosts) -> None:
    _host(there).leases[0] = replace(_host(there).leases[0], ip="10.89.3.3")


def _lost_metadata(_: Rows, there: Hosts) -> None:
    _host(there).metadata.clear()


def _metadata_elsewhere(_: Rows, there: Hosts) -> None:
    there["sim-0002"].metadata.append(_host(there).metadata.pop())


def _strange_console(_: Rows, there: Hosts) -> None:
    _host(there).consoles.append("x")


def _lost_bridge(_: Rows, there: Hosts) -> None:
    _host(there).bridges.clear()


def _strange_bridge(rows: Rows, _: Hosts) -> None:
    rows["l2_network_cluster_ref"].clear()


def _lost_peer(_: Rows, there: Hosts) -> None:
    next(iter(_host(there).bridges.values())).peers.clear()


def _strange_host(_: Rows, there: Hosts) -> None:
    there["backup"] = replace(there["backup"], host="x")


def _memory_booked_twice(rows: Rows, _: Hosts) -> None:
    host = rows["host"][str(_vm(rows)["host_uuid"])]
    host["available_memory_capacity"] = cast("int", host["available_memory_capacity"]) - 1


def _cpu_booked_twice(rows: Rows, _: Hosts) -> None:
    host = rows["host"][str(_vm(rows)["host_uuid"])]
    host["available_cpu_capacity"] = cast("int", host["available_cpu_capacity"]) - 1


def _claim_of_nobody(rows: Rows, _: Hosts) -> None:
    rows["host_claim"]["x"] = rows["host_claim"].popitem()[1]


def _disk_booked_twice(rows: Rows, _: Hosts) -> None:
    _first(rows, "local_storage_host_ref")["booked_capacity"] = 0


def _disk_shown_too_large(rows: Rows, _: Hosts) -> None:
    _first(rows, "local_storage_host_ref")["available_capacity"] = 1 << 60


def _kept_for_nobody(rows: Rows, _: Hosts) -> None:
    rows["local_storage_resource_ref"]["x"] = {**_first(rows, "local_storage_resource_ref"), "size": 0}


def _address_of_nobody(rows: Rows, _: Hosts) -> None:
    rows["used_ip"]["x"] = {"ip": "10.89.3.3"}


def _address_of_another(rows: Rows, _: Hosts) -> None:
    _first(rows, "vm_nic")["ip"] = "10.89.3.3"


def _vm_without_disk(rows: Rows, _: Hosts) -> None:
    _vm(rows)["root_volume_uuid"] = None


def _nic_of_nobody(rows: Rows, _: Hosts) -> None:
    _first(rows, "vm_nic")["vm_instance_uuid"] = "x"


def _tag_of_nothing(rows: Rows, _: Hosts) -> None:
    _first(rows, "user_tag")["resource_uuid"] = "x"


WRONG: dict[str, tuple[Wrong, ...]] = {
    "journal_is_empty": (_open_run,),
    "nothing_is_in_between": (_stuck, _stuck_host),
    "running_vms_run": (
        _dead_vm,
        _strange_vm,
        _vm_that_should_not_run,
        _vm_elsewhere,
        _vm_that_stands_still,
        _other_memory,
    ),
    "volumes_are_files": (_lost_file, _strange_file, _file_elsewhere),
    "caches_are_files": (_lost_cache, _strange_cache),
    "image_copies_are_files": (_lost_copy, _strange_copy),
    "leases_are_of_nics": (_lost_lease, _other_lease),
    "metadata_is_of_nics": (_lost_metadata, _metadata_elsewhere),
    "consoles_are_of_vms": (_strange_console,),
    "bridges_are_of_networks": (_lost_bridge, _strange_bridge, _lost_peer),
    "hosts_are_known": (_strange_host,),
    "hosts_are_booked_rightly": (_memory_booked_twice, _cpu_booked_twice, _claim_of_nobody),
    "storage_is_booked_rightly": (_disk_booked_twice, _disk_shown_too_large, _kept_for_nobody),
    "addresses_are_used": (_address_of_nobody, _address_of_another),
    "vms_have_their_parts": (_vm_without_disk, _nic_of_nobody),
    "tags_are_of_resources": (_tag_of_nothing,),
}


def test_each_rule_is_shown_to_fail() -> None:
    assert set(WRONG) == {rule.__name__ for rule in RULES}


def test_sound_cloud_breaks_no_rule(world: tuple[Rows, Hosts]) -> None:
    assert rules.broken(*world) == []


def test_each_rule_sees_what_is_wrong(world: tuple[Rows, Hosts]) -> None:
    for rule in RULES:
        for wrong in WRONG[rule.__name__]:
            rows, there = copy.deepcopy(world)
            wrong(rows, there)
            assert list(rule(rows, there)), wrong.__name__
