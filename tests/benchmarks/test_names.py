"""What hosts are told of names in a flat network does not grow with the names that they have been told before."""

from __future__ import annotations

from itertools import pairwise

import pytest
from msgspec import Struct
from tests.benchmarks.population import add_hosts, add_vms
from tests.benchmarks.test_growth import MOST

from cairn.agents.protocol.names import buckets_for
from cairn.testing.cloud import Cloud

FEW, MANY = 1_000, 10_000
#: of a bucket: they are filled by chance
_MOST_IN_A_BUCKET = 80


class Told(Struct, frozen=True):
    """Names that a host was told."""

    at_first: int
    after_a_change: int
    after_a_restart: int


async def told(names: int) -> Told:
    async with Cloud.open(hosts=3) as cloud:
        site = await cloud.make_site()
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

        async def change(name: str, host: str) -> None:
            await cloud.create_vm(name, host_uuid=site[host], l3_network_uuids=[str(crowd["uuid"])])
            await cloud.quiet(10)

        first = await cloud.create_vm("first", host_uuid=site["host-1"], l3_network_uuids=[str(crowd["uuid"])])
        add_hosts(cloud, site["host-1"], 1)
        add_vms(cloud, str(first["uuid"]), names, 1)
        host = cloud.world.hosts["sim-0002"]
        counts = [host.names_told]
        await change("second", "host-2")
        counts.append(host.names_told)
        await change("third", "host-1")
        counts.append(host.names_told)
        await cloud.revive()
        await cloud.log_in()
        await change("fourth", "host-1")
        counts.append(host.names_told)
        return Told(*(after - before for before, after in pairwise(counts)))


async def test_a_change_and_a_restart_of_the_node_tell_no_more_in_a_network_of_many_names() -> None:
    few, many = await told(FEW), await told(MANY)

    assert (few.at_first, many.at_first) == (FEW + 2, MANY + 2)
    assert few.after_a_change == many.after_a_change == 1
    assert 0 < few.after_a_restart < _MOST_IN_A_BUCKET
    assert 0 < many.after_a_restart < _MOST_IN_A_BUCKET


@pytest.mark.parametrize("names", [FEW, MANY])
def test_what_a_host_says_of_its_names_is_a_small_part_of_them(names: int) -> None:
    assert buckets_for(names) < names * MOST / 40
