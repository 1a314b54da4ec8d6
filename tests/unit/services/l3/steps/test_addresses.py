from __future__ import annotations

from typing import cast

import pytest
from tests.unit.services.network_rig import Rig, uuid

from cairn.kernel.api import ApiCreate
from cairn.kernel.error import CairnError
from cairn.services.ids import L3NetworkId
from cairn.services.l3.model import UsedIp
from cairn.services.l3.steps.addresses import (
    ClaimAddresses,
    ClaimAddressesInput,
    ReleaseAddresses,
    ReleaseAddressesInput,
)

VM, OTHER = uuid(1, 5), uuid(2, 5)


async def networks(rig: Rig) -> tuple[L3NetworkId, L3NetworkId]:
    l2 = await rig.l2()
    lan, net = await rig.l3(l2, "lan"), await rig.l3(l2, "net")
    await rig.add_range(lan, "10.0.0.2", "10.0.0.9")
    await rig.add_range(net, "10.0.1.2", "10.0.1.9")
    return lan, net


def given(*l3: L3NetworkId, vm: str = VM, tags: list[str] | None = None) -> ClaimAddressesInput:
    return ClaimAddressesInput(uuid=vm, l3_network_uuids=list(l3), asked=ApiCreate(system_tags=tags or []))


async def holders(rig: Rig) -> list[str | None]:
    return [used.used_for for used in await rig.context.store.read(lambda tx: tx.find(UsedIp)) if used.used_for]


async def test_addresses_come_in_the_order_of_the_networks_and_by_tag(rig: Rig) -> None:
    lan, net = await networks(rig)
    step = cast("ClaimAddresses", rig.step("l3.claim-addresses"))
    tags = ["hostname::web", f"staticIp::{lan}::10.0.0.8"]

    made = await rig.context.store.write(lambda tx: step.do(tx, given(net, lan, tags=tags)))

    assert [(one.l3_network_uuid, one.ip) for one in made.addresses] == [(net, "10.0.1.3"), (lan, "10.0.0.8")]


async def test_undo_gives_back_what_was_claimed_and_nothing_else(rig: Rig) -> None:
    lan, net = await networks(rig)
    step = cast("ClaimAddresses", rig.step("l3.claim-addresses"))
    await rig.context.store.write(lambda tx: step.do(tx, given(lan)))
    made = await rig.context.store.write(lambda tx: step.do(tx, given(net)))

    for _ in range(2):
        await rig.context.store.write(lambda tx: step.undo(tx, given(net), made))
    await rig.context.store.write(lambda tx: step.undo(tx, given(net), None))

    assert await holders(rig) == [VM]


async def test_one_network_that_is_full_takes_no_address_of_the_others(rig: Rig) -> None:
    lan, net = await networks(rig)
    step = cast("ClaimAddresses", rig.step("l3.claim-addresses"))
    others = [given(lan, vm=uuid(10 + number, 5)) for number in range(7)]
    await rig.context.store.write(lambda tx: [step.do(tx, other) for other in others])

    with pytest.raises(CairnError) as caught:
        await rig.context.store.write(lambda tx: step.do(tx, given(net, lan)))

    assert caught.value.code == "l3.no-free-address"
    assert VM not in await holders(rig)


async def test_releasing_gives_back_all_of_a_vm_and_may_be_repeated(rig: Rig) -> None:
    lan, net = await networks(rig)
    claiming = cast("ClaimAddresses", rig.step("l3.claim-addresses"))
    releasing = cast("ReleaseAddresses", rig.step("l3.release-addresses"))
    await rig.context.store.write(lambda tx: claiming.do(tx, given(lan, net)))
    await rig.context.store.write(lambda tx: claiming.do(tx, given(lan, vm=OTHER)))

    for _ in range(2):
        await rig.context.store.write(lambda tx: releasing.do(tx, ReleaseAddressesInput(uuid=VM)))

    assert await holders(rig) == [OTHER]
