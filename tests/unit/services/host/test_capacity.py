from __future__ import annotations

import pytest
from tests.flows.statements import noted

from cairn.services.host.capacity import HostCapacity, totals
from cairn.services.host.model import Host
from cairn.testing.cloud import Cloud, Refused

GIB = 1 << 30


def host(cloud: Cloud) -> Host:
    (row,) = cloud.read_now(lambda tx: tx.find(Host))
    return row


async def change(cloud: Cloud, name: str, value: str) -> None:
    await cloud.call("UpdateGlobalConfig", category="host", name=name, value=value)
    await cloud.quiet()


async def test_ratio_and_reserve_count_at_once_and_what_vms_hold_stays_taken() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        await cloud.create_vm("small", cpu_num=2, memory_size=GIB)
        before = host(cloud)

        await change(cloud, "cpu.overProvisioning.ratio", "1")
        await change(cloud, "reservedMemory", str(200 * GIB))

        after = host(cloud)
        assert (after.cpu_num, after.memory_bytes) == (64, 256 * GIB)
        assert (after.total_cpu_capacity, after.available_cpu_capacity) == (64, 62)
        assert (after.total_memory_capacity, after.available_memory_capacity) == (56 * GIB, 55 * GIB)
        with pytest.raises(Refused, match="none-fits"):
            await cloud.create_vm("too-big", cpu_num=63, memory_size=GIB)

        await change(cloud, "cpu.overProvisioning.ratio", "10")
        await change(cloud, "reservedMemory", str(GIB))
        assert host(cloud) == before


async def test_setting_and_connect_come_to_the_same() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        await change(cloud, "cpu.overProvisioning.ratio", "2.5")
        await change(cloud, "reservedMemory", str(3 * GIB))
        seen = host(cloud)
        await cloud.call("ReconnectHost", uuid=cloud.site["host-1"])
        again = host(cloud)
        assert (seen.total_cpu_capacity, seen.available_memory_capacity) == (
            again.total_cpu_capacity,
            again.available_memory_capacity,
        )


async def test_hosts_that_are_as_the_settings_say_are_not_written_again() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        capacity = HostCapacity(cloud.node.context.store, cloud.node.context.config)
        with noted() as statements:
            await capacity.compute()
            assert not any(sql.startswith("UPDATE") for sql in statements)
            await cloud.store.write(lambda tx: tx.update(Host, cloud.site["host-1"], total_cpu_capacity=1))
            await capacity.compute()
        assert host(cloud).total_cpu_capacity == 640


async def test_reserve_of_more_than_there_is_leaves_nothing() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        await change(cloud, "reservedMemory", str(1 << 50))
        assert host(cloud).total_memory_capacity == 0
        assert totals(cloud.node.context.config, 3, GIB) == (30, 0)
