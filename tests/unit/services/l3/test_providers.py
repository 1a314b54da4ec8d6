from __future__ import annotations

import pytest
from tests.unit.services.l3.test_service import claim
from tests.unit.services.network_rig import Rig, uuid

from cairn.kernel.error import CairnError
from cairn.kernel.query.engine import QueryRequest
from cairn.kernel.store.store import Tx
from cairn.services.l3.extensions import NetworkServices
from cairn.services.l3.messages import (
    AttachNetworkServiceToL3Network,
    DetachNetworkServiceFromL3Network,
    GetNetworkServiceTypes,
)
from cairn.services.l3.model import NetworkServiceProvider
from cairn.services.l3.providers import Providers, provider_uuid

FLAT, ROUTER = provider_uuid("Flat"), provider_uuid("Router")


class Router(NetworkServices):
    """Another provider, that nobody gets without asking."""

    name = "Router"
    doc = "A router of paper."
    types = ("DHCP", "SNAT")

    def __init__(self) -> None:
        self.prepared: list[str] = []

    def automatic(self) -> bool:
        return False

    def prepare(self, tx: Tx, l3_network: str) -> None:
        self.prepared.append(l3_network)


async def attach(rig: Rig, l3: str, services: dict[str, list[str]]) -> None:
    await rig.context.bus.call(AttachNetworkServiceToL3Network(l3_network_uuid=l3, network_services=services))


async def detach(rig: Rig, l3: str, services: dict[str, list[str]]) -> None:
    await rig.context.bus.call(DetachNetworkServiceFromL3Network(l3_network_uuid=l3, network_services=services))


async def services(rig: Rig, l3: str) -> list[tuple[str, str]]:
    request = QueryRequest(entity="NetworkServiceL3NetworkRef", conditions=[f"l3NetworkUuid={l3}"])
    rows = (await rig.context.query.run(request)).inventories or []
    names = {FLAT: "Flat", ROUTER: "Router"}
    return sorted((names[str(row["networkServiceProviderUuid"])], str(row["networkServiceType"])) for row in rows)


async def test_a_new_network_is_served_by_flat_without_being_asked(rig: Rig) -> None:
    l3 = await rig.l3(await rig.l2())
    assert await services(rig, l3) == [("Flat", "DHCP"), ("Flat", "DNS"), ("Flat", "Userdata")]


async def test_the_setting_leaves_new_networks_unserved(rig: Rig) -> None:
    await rig.context.store.write(lambda tx: rig.context.config.set(tx, "flatNetwork", "autoAttach", "false"))
    assert await services(rig, await rig.l3(await rig.l2())) == []


async def test_what_is_attached_may_be_attached_again(rig: Rig) -> None:
    l3 = await rig.l3(await rig.l2())
    await attach(rig, l3, {FLAT: ["DHCP", "Userdata"]})
    assert len(await services(rig, l3)) == 3


async def test_a_provider_offers_only_what_it_says(rig: Rig) -> None:
    l3 = await rig.l3(await rig.l2())
    with pytest.raises(CairnError, match="Flat network offers DHCP, DNS, Userdata") as caught:
        await attach(rig, l3, {FLAT: ["SNAT"]})
    assert caught.value.code == "l3.not-offered"


async def test_an_unknown_provider_is_refused_with_those_that_there_are(rig: Rig) -> None:
    l3 = await rig.l3(await rig.l2())
    with pytest.raises(CairnError, match=f"Flat \\({FLAT}\\)") as caught:
        await attach(rig, l3, {uuid(1, 1): ["DHCP"]})
    assert caught.value.code == "l3.no-provider"


async def test_one_service_has_one_provider_until_it_is_detached(rig: Rig) -> None:
    router = Router()
    rig.extensions.provide(NetworkServices, router, name="Router")
    l3 = await rig.l3(await rig.l2())

    with pytest.raises(CairnError, match="has DHCP from Flat network already") as caught:
        await attach(rig, l3, {ROUTER: ["DHCP"]})
    assert caught.value.code == "l3.service-taken"

    await detach(rig, l3, {FLAT: ["DHCP"]})
    await attach(rig, l3, {ROUTER: ["DHCP", "SNAT"]})
    assert ("Router", "DHCP") in await services(rig, l3)
    assert router.prepared == [l3]


async def test_a_provider_prepares_for_each_new_range(rig: Rig) -> None:
    router = Router()
    rig.extensions.provide(NetworkServices, router, name="Router")
    l3 = await rig.l3(await rig.l2())
    await attach(rig, l3, {ROUTER: ["SNAT"]})
    await rig.add_range(l3, "10.0.0.2", "10.0.0.9")
    assert router.prepared == [l3, l3]


async def test_services_are_not_taken_from_networks_with_vms(rig: Rig) -> None:
    l3 = await rig.l3(await rig.l2())
    await rig.add_range(l3, "10.0.0.2", "10.0.0.9")
    await claim(rig, 1, l3)
    with pytest.raises(CairnError, match="1 VMs") as caught:
        await detach(rig, l3, {FLAT: ["DHCP"]})
    assert caught.value.code == "l3.in-use"
    assert len(await services(rig, l3)) == 3


async def test_detaching_what_is_not_attached_is_success(rig: Rig) -> None:
    l3 = await rig.l3(await rig.l2())
    await detach(rig, l3, {FLAT: ["SNAT"], ROUTER: ["DHCP"]})
    assert len(await services(rig, l3)) == 3


async def test_the_row_of_a_plugin_that_is_gone_stays_only_while_networks_name_it(rig: Rig) -> None:
    l3 = await rig.l3(await rig.l2())

    def gone(tx: Tx) -> None:
        tx.insert(
            NetworkServiceProvider(
                uuid=ROUTER, name="r", description="d", type="Router", create_date=tx.now, last_op_date=tx.now
            )
        )

    await rig.context.store.write(gone)
    providers = Providers(rig.context.store, type(rig.extensions)())
    await providers.start()
    types = [row.type for row in await rig.context.store.read(lambda tx: tx.find(NetworkServiceProvider))]
    assert types == ["Flat"]
    assert len(await services(rig, l3)) == 3


async def test_offers_are_told_by_provider(rig: Rig) -> None:
    answer = await rig.context.bus.call(GetNetworkServiceTypes())
    assert answer.types == {"Flat": ["DHCP", "DNS", "Userdata"]}
