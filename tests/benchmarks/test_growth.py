"""What is done every day costs the same in a large cloud as in a small one: measured in one run, side by side.

Only ratios count. What is counted (statements, steps of the database's machine, calls of functions) is free of noise; the
processor's time is the best of many tries, alternating between the two clouds.

What must tell all hosts of a network something (a VXLAN that gets one more host) is not among it, nor what lists things.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from tests.benchmarks.meter import Timed, counted
from tests.benchmarks.population import Population, add_hosts, add_vms, copy_of_host
from tests.flows.statements import noted, whole_tables

from cairn.testing.cloud import ORIGIN, Cloud, Refused

SMALL, LARGE = Population(hosts=100, vms=1_000), Population(hosts=10_000, vms=100_000)
#: a large cloud's cost to a small one's
MOST = 1.3
_TRIES, _MORE_TRIES = 5, 60


class Day:
    """A cloud and what is done in it."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._number = 0
        self._cold = 0

    def operations(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """All of it, by name."""
        return {
            "create a VM": self.create,
            "create a VM and sum up": self.create_and_wait,
            "create a VM on a cold host": self.create_on_cold_host,
            "create a VM that has too much memory": self.too_much_memory,
            "create a VM that has too large a disk": self.too_large_a_disk,
            "stop and start a VM": self.stop_and_start,
            "create, destroy and expunge a VM": self.remove,
            "reconnect a host": self.reconnect,
            "add and delete a host": self.add_host,
            "create the first VM of a host": self.first_vm,
        }

    def _next(self) -> int:
        self._number += 1
        return self._number

    async def _create(self, **fields: object) -> str:
        return str((await self._cloud.create_vm(f"new-{self._next()}", **fields))["uuid"])

    async def create(self) -> None:
        await self._create()

    async def create_and_wait(self) -> None:
        await self._create()
        await self._cloud.quiet(1.5)

    async def create_on_cold_host(self) -> None:
        self._cold += 1
        await self._create(host_uuid=copy_of_host(self._cold))

    async def too_much_memory(self) -> None:
        with pytest.raises(Refused, match=r"host\.none-fits"):
            await self._create(memory_size=1 << 43)

    async def too_large_a_disk(self) -> None:
        with pytest.raises(Refused, match=r"host\.none-fits"):
            await self._create(root_disk_size=1 << 50)

    async def stop_and_start(self) -> None:
        await self._cloud.call("StopVmInstance", uuid=self._cloud.site["vm"])
        await self._cloud.call("StartVmInstance", uuid=self._cloud.site["vm"])

    async def remove(self) -> None:
        vm = await self._create()
        await self._cloud.call("DestroyVmInstance", uuid=vm)
        await self._cloud.call("ExpungeVmInstance", uuid=vm)

    async def reconnect(self) -> None:
        await self._cloud.call("ReconnectHost", uuid=self._cloud.site["host-2"])

    async def _add_host(self) -> str:
        """In a cluster without tunnels: those of a network must be told of each new one."""
        added = await self._cloud.call(
            "AddSimulatorHost",
            name="added",
            management_ip="10.1.0.1",
            cluster_uuid=self._cloud.site["plain"],
            url=f"{ORIGIN}/hosts/sim-0003",
        )
        return str(added["uuid"])

    async def add_host(self) -> None:
        await self._cloud.call("DeleteHost", uuid=await self._add_host())

    async def first_vm(self) -> None:
        """The host fetches the image, which all other hosts have."""
        host = await self._add_host()
        vm = await self._create(host_uuid=host, l3_network_uuids=[self._cloud.site["plain-l3"]])
        await self._cloud.call("DestroyVmInstance", uuid=vm)
        await self._cloud.call("ExpungeVmInstance", uuid=vm)
        await self._cloud.call("DeleteHost", uuid=host)


@asynccontextmanager
async def populated(population: Population) -> AsyncIterator[Cloud]:
    """A cloud with so many hosts and VMs. Time hardly passes in it, so its hosts are not pinged."""
    async with Cloud.open(hosts=3) as cloud:
        site = await cloud.make_site(hosts=2)
        await cloud.call("UpdateGlobalConfig", category="host", name="ping.interval", value="3600")
        plain = await cloud.call("CreateCluster", name="plain", zone_uuid=site["zone"], hypervisor_type="Simulator")
        await cloud.call(
            "AttachPrimaryStorageToCluster", cluster_uuid=plain["uuid"], primary_storage_uuid=site["storage"]
        )
        site["plain"] = str(plain["uuid"])
        site["plain-l3"] = await plain_network(cloud)
        crowd = await cloud.call("CreateL3Network", name="crowd", l2_network_uuid=site["l2"])
        await cloud.call(
            "AddIpRange",
            l3_network_uuid=crowd["uuid"],
            name="crowd",
            start_ip="172.16.0.10",
            end_ip="172.31.255.250",
            netmask="255.240.0.0",
            gateway="172.16.0.1",
        )
        first = await cloud.create_vm("first", host_uuid=site["host-1"], l3_network_uuids=[str(crowd["uuid"])])
        site["vm"] = str((await cloud.create_vm("second", host_uuid=site["host-2"]))["uuid"])
        await cloud.quiet(5)
        add_hosts(cloud, site["host-1"], population.hosts)
        add_vms(cloud, str(first["uuid"]), population.vms, population.hosts)
        yield cloud


async def plain_network(cloud: Cloud) -> str:
    """A network without tunnels, in the cluster that has none."""
    zone = cloud.site["zone"]
    l2 = await cloud.call("CreateL2NoVlanNetwork", name="plain", zone_uuid=zone, physical_interface="eth0")
    await cloud.call("AttachL2NetworkToCluster", l2_network_uuid=l2["uuid"], cluster_uuid=cloud.site["plain"])
    l3 = await cloud.call("CreateL3Network", name="plain", l2_network_uuid=l2["uuid"])
    await cloud.call(
        "AddIpRange",
        l3_network_uuid=l3["uuid"],
        name="plain",
        start_ip="10.200.0.10",
        end_ip="10.200.0.250",
        netmask="255.255.255.0",
        gateway="10.200.0.1",
    )
    return str(l3["uuid"])


async def test_nothing_of_a_day_costs_more_in_a_large_cloud() -> None:
    async with populated(SMALL) as small, populated(LARGE) as large:
        few, many = Day(small).operations(), Day(large).operations()
        dearer: dict[str, float] = {}
        for name in few:
            for work in (few[name], many[name]):
                for _ in range(2):  # what is remembered is not what is measured
                    await work()
            with counted() as before:
                await few[name]()
            with counted() as now:
                await many[name]()
            numbers = now.of()
            dearer |= {f"{name}, {what}": numbers[what] / number for what, number in before.of().items()}
            dearer[f"{name}, seconds"] = await _ratio(few[name], many[name])

    assert {what: round(ratio, 2) for what, ratio in dearer.items() if ratio >= MOST} == {}


async def _ratio(few: Callable[[], Awaitable[None]], many: Callable[[], Awaitable[None]]) -> float:
    """How much longer it takes in the large cloud, as far as it is more than noise."""
    before, now = Timed(), Timed()
    for number in range(_MORE_TRIES):
        for timed, work in ((before, few), (now, many)):
            with timed.again():
                await work()
        if number >= _TRIES and now.best < MOST * before.best:
            break
    return now.best / before.best


async def test_nothing_of_a_day_reads_a_whole_table() -> None:
    async with populated(Population(hosts=20, vms=20)) as cloud:
        operations = Day(cloud).operations()
        for work in operations.values():
            await work()
        with noted() as statements:
            for work in operations.values():
                await work()

        assert len(statements) > 100
        assert whole_tables(cloud, statements) == []
