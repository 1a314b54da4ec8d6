"""Removing a stray."""

from __future__ import annotations

import pytest
from tests.unit.services.vm.upkeep.test_strays import INTERVAL, STRAY, put_stray

from cairn.services.ids import HostId
from cairn.services.vm.model import StrayVm
from cairn.testing.cloud import Cloud, Refused


async def test_removed_stray_is_off_its_host_and_twice_is_success(cloud: Cloud) -> None:
    put_stray(cloud)
    await cloud.quiet(2 * INTERVAL)
    (row,) = await cloud.query("StrayVm")
    for _ in range(2):
        await cloud.call("RemoveStrayVm", uuid=row["uuid"])
    assert STRAY not in cloud.world.hosts["sim-0001"].vms
    await cloud.quiet(2 * INTERVAL)
    assert await cloud.query("StrayVm") == []


async def test_vm_that_is_at_home_is_no_stray(cloud: Cloud) -> None:
    row = StrayVm(
        uuid="6" * 32,
        vm_uuid=cloud.site["vm"],
        host_uuid=HostId(cloud.site["host-1"]),
        cpu_num=1,
        memory_size=1,
        create_date=cloud.clock.now(),
    )
    await cloud.node.context.store.write(lambda tx: tx.insert(row))
    with pytest.raises(Refused) as caught:
        await cloud.call("RemoveStrayVm", uuid=row.uuid)
    assert caught.value.code == "stray-vm.at-home"
    assert any(cloud.site["vm"] in one.vms for one in cloud.world.hosts.values())


async def test_only_administrators_see_and_remove_strays(cloud: Cloud) -> None:
    put_stray(cloud)
    await cloud.quiet(2 * INTERVAL)
    (row,) = await cloud.query("StrayVm")
    await cloud.call("CreateAccount", name="alice", password="pw-alice")
    await cloud.log_in("alice", "pw-alice")
    for call in (cloud.call("RemoveStrayVm", uuid=row["uuid"]), cloud.query("StrayVm")):
        with pytest.raises(Refused) as caught:
            await call
        assert caught.value.status == 403
