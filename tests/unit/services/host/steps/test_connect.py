from __future__ import annotations

from tests.unit.services.host.host_calls import add, cluster
from tests.unit.services.image_site import Site

from cairn.kernel.flow.journal import FlowRun
from cairn.kernel.tag import UserTag
from cairn.plugins.simulator.model import SimulatorHost
from cairn.services.cluster.messages import HypervisorType
from cairn.services.host.model import Host


async def test_a_new_host_is_connected_with_its_facts_capacity_and_tags(site: Site) -> None:
    host = (await site.call(add(site, await cluster(site), user_tags=["rack"]))).uuid

    row, machine = await site.row(Host, host), site.host("sim-0001").machine
    assert (row.status.value, row.hypervisor_type, row.management_ip) == ("Connected", "Simulator", "sim-0001")
    assert (row.cpu_num, row.total_cpu_capacity) == (machine.cpu_num, machine.cpu_num * 10)
    assert row.available_memory_capacity == machine.memory_bytes - (1 << 30)
    assert row.agent_boot == site.host("sim-0001").boot
    assert [tag.tag for tag in await site.rows(UserTag)] == ["rack"]


async def test_a_second_host_at_an_address_or_one_of_another_kind_is_refused_and_leaves_nothing(site: Site) -> None:
    here = await cluster(site)
    first = (await site.call(add(site, here))).uuid

    error = await site.refused(add(site, here), "host.address-taken")
    await site.refused(add(site, await cluster(site, HypervisorType.KVM), "sim-0002"), "host.wrong-hypervisor")
    await site.refused(add(site, "f" * 32, "sim-0002"), "cluster.not-found")

    assert first in error.message
    assert [row.uuid for row in await site.rows(Host)] == [first]


async def test_one_that_cannot_be_connected_leaves_nothing(site: Site) -> None:
    here = await cluster(site)
    site.kill("sim-0001")

    await site.refused(add(site, here), "agent.unreachable")

    for kind in (Host, SimulatorHost, FlowRun):
        assert await site.rows(kind) == []
