"""A VM that was destroyed comes back with its disk, its tags and its network cards."""

from __future__ import annotations

import pytest

from cairn.testing.cloud import Cloud, Refused


async def cards(cloud: Cloud) -> list[tuple[object, object, object]]:
    rows = await cloud.query("VmNic", f"vmInstanceUuid={cloud.site['vm']}")
    return [(row["mac"], row["ip"], row["l3NetworkUuid"]) for row in rows]


async def test_recovered_vm_is_stopped_as_it_was_and_starts(cloud: Cloud) -> None:
    vm = cloud.site["vm"]
    before = await cards(cloud)
    await cloud.call("DestroyVmInstance", uuid=vm)
    assert await cards(cloud) == []
    recovered = await cloud.call("RecoverVmInstance", uuid=vm)
    assert (recovered["state"], recovered["hostUuid"]) == ("Stopped", None)
    assert await cards(cloud) == before
    assert (await cloud.call("RecoverVmInstance", uuid=vm))["state"] == "Stopped"
    assert (await cloud.call("StartVmInstance", uuid=vm))["state"] == "Running"


async def test_address_that_another_has_by_now_is_replaced(cloud: Cloud) -> None:
    vm = cloud.site["vm"]
    ((mac, ip, network),) = await cards(cloud)
    await cloud.call("DestroyVmInstance", uuid=vm)
    await cloud.create_vm("thief", system_tags=[f"staticIp::{network}::{ip}"])
    await cloud.call("RecoverVmInstance", uuid=vm)
    ((same_mac, other_ip, same_network),) = await cards(cloud)
    assert (same_mac, same_network) == (mac, network)
    assert other_ip != ip


async def test_vm_that_is_not_destroyed_or_is_gone_is_not_recovered(cloud: Cloud) -> None:
    vm = cloud.site["vm"]
    with pytest.raises(Refused) as caught:
        await cloud.call("RecoverVmInstance", uuid=vm)
    assert caught.value.code == "vm.wrong-state"
    await cloud.call("DestroyVmInstance", uuid=vm)
    await cloud.call("ExpungeVmInstance", uuid=vm)
    with pytest.raises(Refused) as caught:
        await cloud.call("RecoverVmInstance", uuid=vm)
    assert caught.value.code == "vm.not-found"
