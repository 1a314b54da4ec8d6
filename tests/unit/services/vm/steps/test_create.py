from __future__ import annotations

from typing import cast

import pytest
from msgspec.structs import replace
from tests.unit.services.storage_rig import IMAGE

from cairn.kernel.error import CairnError
from cairn.kernel.event import EventRow
from cairn.kernel.flow.step import NOTHING, TransactionStep
from cairn.kernel.resource import Resource
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import UserTag
from cairn.services.host.extensions import Candidate
from cairn.services.ids import ClusterId, HostId, L3NetworkId, ZoneId
from cairn.services.l3.messages import ClaimedAddress
from cairn.services.l3.model import L3Network
from cairn.services.vm.messages import CreateVmInstance, CreationStrategy
from cairn.services.vm.model import VmInstance, VmNic, VmState
from cairn.services.vm.steps.create import (
    PrepareInput,
    PrepareOutput,
    PrepareVm,
    RecordInput,
    RecordNics,
    RecordNicsInput,
    RecordVm,
)
from cairn.testing.cloud import Cloud

VM = "5" * 32


def asked(cloud: Cloud, **given: object) -> CreateVmInstance:
    fields = cloud.vm_fields("new", resource_uuid=VM, **given)
    return CreateVmInstance(**fields)  # type: ignore[arg-type]


def step(cloud: Cloud, name: str) -> object:
    found = cloud.node.context.flows.book.step(name)
    assert isinstance(found, TransactionStep)
    return found


def prepared(cloud: Cloud, message: CreateVmInstance) -> PrepareOutput:
    work = cast("PrepareVm", step(cloud, "vm.prepare"))
    given = PrepareInput(uuid=VM, account="acc", asked=message, image=IMAGE)
    return cloud.read_now(lambda tx: work.do(tx, given))


async def record_input(cloud: Cloud, **given: object) -> RecordInput:
    """With the host, the image and the account of the cloud's first VM."""
    first = cloud.read_now(lambda tx: tx.get(VmInstance, cloud.site["vm"]))
    assert first is not None
    message = asked(cloud, **given)
    out = prepared(cloud, message)
    place = Candidate(
        host_uuid=HostId(str(first.host_uuid)),
        cluster_uuid=ClusterId(str(first.cluster_uuid)),
        zone_uuid=ZoneId(str(first.zone_uuid)),
        name="host-1",
        hypervisor_type="KVM",
    )
    image = replace(IMAGE, uuid=cloud.site["image"])
    return RecordInput(account=first.account_uuid, asked=message, image=image, vm=out.vm, root=out.root, place=place)


async def test_what_is_asked_for_is_what_the_vm_is_and_what_it_needs(cloud: Cloud) -> None:
    out = prepared(cloud, asked(cloud, host_uuid="9" * 32, cpu_num=3))

    assert (out.vm.uuid, out.vm.name, out.vm.cpu_num, out.vm.memory_size) == (VM, "new", 3, 128 << 20)
    assert (out.vm.hostname, out.vm.default_l3_network_uuid) == ("new", cloud.site["l3"])
    assert (out.root.name, out.root.size_bytes) == ("ROOT-for-new", IMAGE.size_bytes)
    need = out.host_need
    assert (need.vm_uuid, need.cpu_num, need.memory_size) == (VM, 3, 128 << 20)
    assert (need.host_uuid, need.disk_bytes, need.root_volume_uuid) == ("9" * 32, IMAGE.size_bytes, None)
    assert out.l3_network_uuids == need.l3_network_uuids == [cloud.site["l3"]]


async def test_a_larger_disk_a_chosen_storage_and_a_long_name_are_taken(cloud: Cloud) -> None:
    message = asked(cloud, root_disk_size=5 << 20, primary_storage_uuid_for_root_volume="8" * 32)
    out = prepared(cloud, replace(message, name="x" * 255))

    assert (out.root.size_bytes, out.host_need.disk_bytes) == (5 << 20, 5 << 20)
    assert (out.root.primary_storage_uuid, out.host_need.primary_storage_uuid) == ("8" * 32, "8" * 32)
    assert out.root.name == ("ROOT-for-" + "x" * 255)[:255]


async def test_a_disk_smaller_than_the_image_is_refused_with_what_would_fit(cloud: Cloud) -> None:
    message = replace(asked(cloud), root_disk_size=IMAGE.size_bytes - 1)
    with pytest.raises(CairnError, match=f"at least the image's {IMAGE.size_bytes} bytes") as caught:
        prepared(cloud, message)
    assert caught.value.code == "vm.disk-too-small"
    assert "rootDiskSize" in caught.value.fields


async def test_an_offering_gives_the_size_while_it_is_enabled(cloud: Cloud) -> None:
    made = await cloud.call("CreateInstanceOffering", name="small", cpu_num=2, memory_size=64 << 20)
    message = asked(cloud, instance_offering_uuid=made["uuid"], cpu_num=None, memory_size=None)
    out = prepared(cloud, message)
    await cloud.call("ChangeInstanceOfferingState", uuid=made["uuid"], state_event="disable")
    with pytest.raises(CairnError, match="small is disabled") as disabled:
        prepared(cloud, message)
    with pytest.raises(CairnError) as missing:
        prepared(cloud, replace(message, instance_offering_uuid="f" * 32))

    assert (out.vm.cpu_num, out.vm.memory_size, out.host_need.cpu_num) == (2, 64 << 20, 2)
    assert disabled.value.code == "vm.offering-disabled"
    assert (missing.value.code, list(missing.value.fields)) == ("instance-offering.not-found", ["instanceOfferingUuid"])


@pytest.mark.parametrize("strategy", CreationStrategy)
async def test_a_vm_is_written_down_as_starting_where_it_was_placed_and_undone_twice(
    cloud: Cloud, strategy: CreationStrategy
) -> None:
    given = await record_input(cloud, strategy=strategy, description="front", user_tags=["red"])
    work, store = cast("RecordVm", step(cloud, "vm.record")), cloud.node.context.store

    await store.write(lambda tx: work.do(tx, given))
    row = cloud.read_now(lambda tx: tx.get(VmInstance, VM))
    tags = cloud.read_now(lambda tx: [tag.tag for tag in tx.find(UserTag, resource_uuid=VM)])
    for _ in range(2):
        await store.write(lambda tx: work.undo(tx, given, NOTHING))

    assert row is not None
    assert (row.state, row.name, row.description, tags) == (VmState.STARTING, "new", "front", ["red"])
    assert row.host_uuid == row.last_host_uuid == given.place.host_uuid
    assert (row.image_uuid, row.root_volume_uuid) == (cloud.site["image"], given.root.uuid)
    for kind, key in ((VmInstance, VM), (Resource, VM)):
        assert cloud.read_now(lambda tx: tx.get(kind, key)) is None  # noqa: B023
    told = cloud.read_now(lambda tx: tx.find(EventRow, resource_uuid=VM))
    assert [event.content["state"] for event in told] == ["Expunging"]
    assert cloud.read_now(lambda tx: tx.count(UserTag, resource_uuid=VM)) == 0


async def test_an_id_that_another_vm_has_is_refused_and_that_vm_stays(cloud: Cloud) -> None:
    given = await record_input(cloud)
    given = replace(given, vm=replace(given.vm, uuid=cloud.site["vm"]))
    work = cast("RecordVm", step(cloud, "vm.record"))

    with pytest.raises(CairnError) as caught:
        await cloud.node.context.store.write(lambda tx: work.do(tx, given))

    assert caught.value.code == "resource.uuid-taken"
    assert [vm["name"] for vm in await cloud.query("VmInstance")] == ["web"]


async def test_each_address_becomes_a_card_in_its_order_and_undo_takes_only_the_vms_own(cloud: Cloud) -> None:
    given = await record_input(cloud)
    record, nics = cast("RecordVm", step(cloud, "vm.record")), cast("RecordNics", step(cloud, "vm.record-nics"))
    addresses = [
        ClaimedAddress(
            l3_network_uuid=L3NetworkId(cloud.site["l3"]),
            used_ip_uuid=f"{number}" * 32,
            ip_range_uuid="r",
            ip=f"10.0.0.{number}",
            netmask="255.255.255.0",
            gateway="10.0.0.1",
        )
        for number in (7, 8)
    ]
    cards = RecordNicsInput(vm=given.vm, place=given.place, addresses=addresses)

    def fn(tx: Tx) -> list[str]:
        record.do(tx, given)
        made = nics.do(tx, cards)
        rows = tx.find(VmNic, vm_instance_uuid=VM, order_by="device_id")
        assert [row.uuid for row in rows] == [nic.uuid for nic in made.nics]
        assert {row.l3_network_uuid for row in rows} == {network.uuid for network in tx.find(L3Network)}
        return [f"{row.device_id} {row.ip} {row.mac[:2]} {len(row.internal_name)}" for row in rows]

    made = await cloud.node.context.store.write(fn)
    for _ in range(2):
        await cloud.node.context.store.write(lambda tx: nics.undo(tx, cards, None))

    assert made == ["0 10.0.0.7 fa 14", "1 10.0.0.8 fa 14"]
    left = cloud.read_now(lambda tx: [nic.vm_instance_uuid for nic in tx.find(VmNic)])
    assert left == [cloud.site["vm"]]
