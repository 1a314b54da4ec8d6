from __future__ import annotations

import asyncio
from typing import cast

import pytest
from tests.unit.services.network_rig import Rig, names, uuid

from cairn.agents.protocol.host import HostFacts
from cairn.kernel.error import CairnError
from cairn.services.host.extensions import Candidate, HostConnected
from cairn.services.ids import ClusterId, HostId, L3NetworkId, ZoneId
from cairn.services.l3.messages import DeleteL3Network
from cairn.services.l3.steps.realize import Realize, RealizeInput

FACTS = HostFacts(hostname="host", architecture="x86_64")


async def realize(rig: Rig, host: HostId, *l3: L3NetworkId) -> dict[str, str]:
    step = cast("Realize", rig.step("l3.realize"))
    place = Candidate(host_uuid=host, cluster_uuid=ClusterId("cluster"), zone_uuid=ZoneId("zone"), name="host")
    return (await step.do(RealizeInput(place=place, l3_network_uuids=list(l3)))).bridges


async def test_bridges_are_answered_without_a_call_once_the_host_has_them(rig: Rig) -> None:
    host = rig.host(1)
    wire, tunnel = await rig.l2(interface="eth0"), await rig.vxlan(vni=9)
    await rig.attach(wire)
    await rig.attach(tunnel)
    lan, net, more = await rig.l3(wire), await rig.l3(tunnel), await rig.l3(tunnel)
    await rig.settle()

    bridges = await realize(rig, host, lan, net, more)

    assert bridges == {lan: "br_eth0", net: "br_vx_9", more: "br_vx_9"}
    assert await rig.settle() == []


async def test_a_host_that_connected_anew_is_not_called_again(rig: Rig) -> None:
    host = rig.host(1)
    l2 = await rig.l2()
    await rig.attach(l2)
    await rig.extensions.named(HostConnected, "l2").host_connecting(host, FACTS)
    await rig.settle()

    await realize(rig, host, await rig.l3(l2))

    assert await rig.settle() == []


async def test_many_vms_at_once_on_an_unknown_host_cost_one_call(rig: Rig) -> None:
    host = rig.host(1, connected=False)
    l2 = await rig.l2()
    await rig.attach(l2)
    l3 = await rig.l3(l2)

    await asyncio.gather(*(realize(rig, host, l3) for _ in range(20)))

    assert names(await rig.settle()) == [(1, "EnsureBridge")]


async def test_a_network_that_is_gone_is_named(rig: Rig) -> None:
    host = rig.host(1)
    with pytest.raises(CairnError) as caught:
        await realize(rig, host, L3NetworkId(uuid(5, 5)))
    assert caught.value.code == "l3.not-found"


async def test_a_host_that_is_gone_is_named(rig: Rig) -> None:
    l3 = await rig.l3(await rig.l2())
    with pytest.raises(CairnError) as caught:
        await realize(rig, HostId(uuid(5, 3)), l3)
    assert caught.value.code == "host.not-found"


async def test_a_network_that_was_detached_meanwhile_is_not_made_again(rig: Rig) -> None:
    host, l3 = rig.host(1), await rig.l3(await rig.l2())

    with pytest.raises(CairnError) as caught:
        await realize(rig, host, l3)

    assert caught.value.code == "l2.detached"
    assert await rig.settle() == []


async def test_bridges_that_are_known_cost_no_look_at_the_database(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    host, l2 = rig.host(1), await rig.l2()
    await rig.attach(l2)
    l3 = await rig.l3(l2)
    first = await realize(rig, host, l3)

    async def unreadable(_: object) -> None:
        raise AssertionError("the database was asked")

    for way in ("read", "look"):
        monkeypatch.setattr(rig.context.store, way, unreadable)
    assert await realize(rig, host, l3) == first


async def test_a_network_that_was_deleted_is_not_found_at_once(rig: Rig) -> None:
    host, l2 = rig.host(1), await rig.l2()
    await rig.attach(l2)
    l3 = await rig.l3(l2)
    await realize(rig, host, l3)
    await rig.context.bus.call(DeleteL3Network(uuid=l3))
    with pytest.raises(CairnError, match="l3NetworkUuids"):
        await realize(rig, host, l3)
