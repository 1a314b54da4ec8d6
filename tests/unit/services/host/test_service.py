from __future__ import annotations

import pytest
from tests.unit.services.host.host_calls import add, cluster
from tests.unit.services.image_site import ORIGIN, ZONE, Site

from cairn.agents.protocol.vm import ListVms
from cairn.kernel.tag import UserTag
from cairn.plugins.simulator.model import SimulatorHost
from cairn.services.host.machine import HostStateEvent
from cairn.services.host.messages import (
    ChangeHostState,
    CountHostChanges,
    DeleteHost,
    HostView,
    ListHosts,
    ReconnectHost,
    UpdateHost,
)
from cairn.services.host.model import Host, HostClaim, HostState
from cairn.services.host.provided import HostAgents
from cairn.services.ids import ClusterId, HostId, VmId, ZoneId


async def two(site: Site) -> tuple[ClusterId, HostId, HostId]:
    """A cluster with two hosts."""
    here = ClusterId(await cluster(site))
    hosts = [HostId((await site.call(add(site, here, name))).uuid) for name in ("sim-0001", "sim-0002")]
    return here, hosts[0], hosts[1]


async def test_an_update_changes_what_is_given_and_its_own_address_is_free(site: Site) -> None:
    _, host, _ = await two(site)
    for _ in range(2):
        await site.call(UpdateHost(uuid=host, description="in the cellar", management_ip="sim-0001"))

    row = await site.row(Host, host)
    assert (row.name, row.description, row.management_ip) == ("sim-0001", "in the cellar", "sim-0001")


async def test_an_address_that_another_host_has_is_refused_and_nothing_changes(site: Site) -> None:
    _, host, other = await two(site)
    before = await site.row(Host, host)

    error = await site.refused(UpdateHost(uuid=host, name="x", management_ip="sim-0002"), "host.address-taken")

    assert other in error.message
    assert "managementIp" in error.fields
    assert await site.row(Host, host) == before


async def test_an_update_has_the_address_looked_up_again(site: Site) -> None:
    _, host, _ = await two(site)
    agents, simulated = site.context.need(HostAgents), f"{ORIGIN}/hosts/sim-0003"
    await site.clock.run(agents.call(host, ListVms()))
    await site.context.store.write(lambda tx: tx.update(SimulatorHost, host, url=simulated))
    asked = []
    for update in (False, True):
        if update:
            await site.call(UpdateHost(uuid=host, name="renamed"))
        await site.clock.run(agents.call(host, ListVms()))
        asked.append(site.transport.requests[-1][1].startswith(simulated))

    assert asked == [False, True]


@pytest.mark.parametrize("event", HostStateEvent)
async def test_each_event_leads_to_its_state_and_may_be_repeated(site: Site, event: HostStateEvent) -> None:
    _, host, other = await two(site)
    for _ in range(2):
        await site.call(ChangeHostState(uuid=host, state_event=event))

    states = {"enable": HostState.ENABLED, "disable": HostState.DISABLED, "maintain": HostState.MAINTENANCE}
    assert (await site.row(Host, host)).state is states[event.value]
    assert (await site.row(Host, other)).state is HostState.ENABLED


async def test_a_host_with_vms_does_not_go_into_maintenance_and_may_be_disabled(site: Site) -> None:
    _, host, _ = await two(site)
    claim = HostClaim(vm_uuid=VmId("v" * 32), host_uuid=host, cpu_num=1, memory_bytes=1)
    await site.context.store.write(lambda tx: tx.insert(claim))

    error = await site.refused(ChangeHostState(uuid=host, state_event=HostStateEvent.MAINTAIN), "host.in-use")
    refused = (await site.row(Host, host)).state
    await site.call(ChangeHostState(uuid=host, state_event=HostStateEvent.DISABLE))

    assert "1 VMs run on it" in error.message
    assert refused is HostState.ENABLED
    assert (await site.row(Host, host)).state is HostState.DISABLED


async def test_hosts_are_listed_once_by_cluster_or_uuid_and_those_that_are_gone_are_left_out(site: Site) -> None:
    here, first, second = await two(site)
    far = ClusterId(await cluster(site))
    third = HostId((await site.call(add(site, far, "sim-0003"))).uuid)
    site.kill("sim-0001")
    await site.refused(ReconnectHost(uuid=first), "agent.unreachable")

    listed = await site.context.bus.call(ListHosts(cluster_uuids=[here], host_uuids=[first, third, HostId("f" * 32)]))
    none = await site.context.bus.call(ListHosts())

    assert {view.uuid: view.connected for view in listed.hosts} == {first: False, second: True, third: True}
    assert len(listed.hosts) == 3
    assert none.hosts == []
    assert listed.hosts[-1] == HostView(
        uuid=third, name="sim-0003", cluster_uuid=far, zone_uuid=ZoneId(ZONE), management_ip="sim-0003", connected=True
    )


async def test_a_call_about_one_that_is_not_there_says_so_and_deleting_it_is_success(site: Site) -> None:
    gone = "f" * 32
    for message in (
        UpdateHost(uuid=gone, name="x"),
        ChangeHostState(uuid=gone, state_event=HostStateEvent.ENABLE),
        ReconnectHost(uuid=gone),
    ):
        await site.refused(message, "host.not-found")
    await site.call(DeleteHost(uuid=gone))

    assert [await site.rows(Host), await site.rows(UserTag)] == [[], []]


async def test_changes_to_the_hosts_of_a_cluster_are_counted_and_others_are_not(site: Site) -> None:
    async def count() -> int:
        return (await site.context.bus.call(CountHostChanges(cluster_uuids=[here]))).changes[here]

    here = ClusterId(await cluster(site))
    assert await count() == 0
    host = (await site.call(add(site, here, "sim-0001"))).uuid
    assert await count() == 1
    await site.call(ReconnectHost(uuid=host))
    await site.call(UpdateHost(uuid=host, name="renamed"))
    assert await count() == 1
    await site.call(UpdateHost(uuid=host, management_ip="sim-0002"))
    assert await count() == 2
    await site.call(DeleteHost(uuid=host))
    assert await count() == 3


async def test_a_host_that_was_never_connected_is_new(site: Site) -> None:
    here, host, other = await two(site)
    await site.context.store.write(lambda tx: tx.update(Host, other, agent_boot=""))

    found = (await site.context.bus.call(ListHosts(cluster_uuids=[here]))).hosts

    assert {one.uuid: one.is_new for one in found} == {host: False, other: True}
