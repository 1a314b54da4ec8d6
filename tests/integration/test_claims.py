"""What many share is never given out twice, however many ask at once."""

from __future__ import annotations

import pytest
from tests.flows.world import broken_rules, database

from cairn.simulator.dials import Dial
from cairn.testing.cloud import Cloud, Refused

GIB = 1 << 30


async def outcomes(cloud: Cloud, count: int, **fields: object) -> tuple[int, list[Refused]]:
    """Begin so many creations before the first one ends; how many succeed, and how the others were refused."""
    cloud.agents.dials.turn(Dial(command="vm.start", delay_seconds=1.0))
    jobs = []
    for number in range(count):
        status, answer = await cloud.send("CreateVmInstance", **cloud.vm_fields(f"vm-{number}", **fields))
        assert status == 202, answer
        jobs.append(str(answer["uuid"]))
    refused: list[Refused] = []
    for job in jobs:
        try:
            await cloud.finish(job)
        except Refused as error:
            refused.append(error)
    cloud.agents.dials.clear()
    return count - len(refused), refused


async def test_memory_is_not_over_committed_by_a_hundred_creations(cloud: Cloud) -> None:
    free = [host["available_memory_capacity"] for host in database(cloud)["host"].values()]
    fits = sum(int(str(memory)) // (30 * GIB) for memory in free)
    made, refused = await outcomes(cloud, 100, memory_size=30 * GIB)
    assert made == fits
    assert {error.code for error in refused} == {"host.none-fits"}
    assert all("sim-0001 has" in error.operator and "sim-0002 has" in error.operator for error in refused)
    assert broken_rules(cloud) == []


async def test_processors_are_not_over_committed(cloud: Cloud) -> None:
    free = [host["available_cpu_capacity"] for host in database(cloud)["host"].values()]
    made, refused = await outcomes(cloud, 60, cpu_num=32)
    assert made == sum(int(str(cpus)) // 32 for cpus in free)
    assert {error.code for error in refused} == {"host.none-fits"}
    assert broken_rules(cloud) == []


async def test_ten_addresses_are_not_given_to_twenty(cloud: Cloud) -> None:
    small = await cloud.call("CreateL3Network", name="small", l2_network_uuid=cloud.site["l2"])
    await cloud.call(
        "AddIpRange",
        l3_network_uuid=small["uuid"],
        name="ten",
        start_ip="10.99.0.10",
        end_ip="10.99.0.19",
        netmask="255.255.255.0",
        gateway="10.99.0.1",
    )
    made, refused = await outcomes(cloud, 20, l3_network_uuids=[small["uuid"]])
    assert made == 10 - 1  # one is the network's DHCP server's
    assert {error.code for error in refused} == {"l3.no-free-address"}
    assert broken_rules(cloud) == []
    given = [row["ip"] for row in database(cloud)["vm_nic"].values()]
    assert len(given) == len(set(given))


async def test_disk_is_not_over_committed(cloud: Cloud) -> None:
    free = [int(str(share["available_capacity"])) for share in database(cloud)["local_storage_host_ref"].values()]
    size = 1 << 40
    made, refused = await outcomes(cloud, 20, root_disk_size=size)
    assert 0 < made <= sum(one // size for one in free)
    assert refused
    assert broken_rules(cloud) == []


async def test_what_failed_gives_back_what_it_had_claimed(cloud: Cloud) -> None:
    before = database(cloud)["host"]
    cloud.agents.dials.turn(Dial(command="vm.start", error_rate=1.0))
    for number in range(3):
        with pytest.raises(Refused):
            await cloud.create_vm(f"vm-{number}", memory_size=200 * GIB)
    cloud.agents.dials.clear()
    after = database(cloud)["host"]
    assert [h["available_memory_capacity"] for h in after.values()] == [
        h["available_memory_capacity"] for h in before.values()
    ]
    assert broken_rules(cloud) == []


async def test_administrators_are_told_each_hosts_reason(cloud: Cloud) -> None:
    await cloud.call("ChangeHostState", uuid=cloud.site["host-1"], state_event="disable")
    with pytest.raises(Refused) as refused:
        await cloud.create_vm("big", memory_size=900 * GIB)
    assert refused.value.code == "host.none-fits"
    assert "sim-0001 is Disabled" in refused.value.operator
    assert "sim-0002 has" in refused.value.operator
    assert "sim-000" not in refused.value.detail
