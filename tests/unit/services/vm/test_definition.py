from __future__ import annotations

import msgspec

from cairn.agents.protocol.vm import Hardware
from cairn.kernel.resource import taken
from cairn.kernel.store.store import Tx
from cairn.services.ids import HostId, L3NetworkId, VmId
from cairn.services.vm.definition import VmDefinition, networks, nic_specs
from cairn.services.vm.extensions import NicSpec
from cairn.services.vm.model import VmInstance, VmNic
from cairn.testing.cloud import Cloud


def row_of(tx: Tx, cloud: Cloud) -> VmInstance:
    vm = tx.get(VmInstance, cloud.site["vm"])
    assert vm is not None
    return vm


async def add_card(cloud: Cloud, device: int, **fields: str) -> None:
    now = cloud.clock.now()
    card = VmNic(
        uuid=f"{device:032x}",
        vm_instance_uuid=VmId(cloud.site["vm"]),
        l3_network_uuid=L3NetworkId(cloud.site["l3"]),
        mac=f"fa:00:00:00:00:{device:02x}",
        device_id=device,
        internal_name=f"vnic{device}",
        create_date=now,
        last_op_date=now,
        **fields,
    )
    await cloud.node.context.store.write(lambda tx: tx.insert(card))


def specs(cloud: Cloud) -> list[NicSpec]:
    return cloud.read_now(lambda tx: nic_specs(tx, row_of(tx, cloud)))


async def test_cards_come_in_the_order_of_their_numbers_and_one_without_an_address_has_an_empty_one(
    cloud: Cloud,
) -> None:
    for device in (10, 2):
        await add_card(cloud, device)
    first, second, third = specs(cloud)

    assert [nic.device_id for nic in (first, second, third)] == [0, 2, 10]
    assert (second.ip, second.netmask, second.gateway) == ("", "", "")
    shown = (await cloud.query("VmNic", "deviceId=0"))[0]
    assert (first.ip, first.mac, first.l3_network_uuid) == (shown["ip"], shown["mac"], cloud.site["l3"])
    assert first.is_default


async def test_cards_of_other_networks_than_the_default_one_are_not_the_default(cloud: Cloud) -> None:
    def fn(tx: Tx) -> None:
        tx.update(VmInstance, cloud.site["vm"], default_l3_network_uuid="f" * 32)

    await cloud.node.context.store.write(fn)
    assert [nic.is_default for nic in specs(cloud)] == [False]


async def test_networks_are_told_of_the_vm_and_its_cards_on_the_host(cloud: Cloud) -> None:
    nics = specs(cloud)
    told = networks(cloud.read_now(lambda tx: row_of(tx, cloud)), HostId("host"), tuple(nics))

    assert (told.uuid, told.host_uuid, told.hostname, told.nics) == (cloud.site["vm"], "host", "web", nics)
    assert told.bridges == {}


async def test_a_definition_made_of_the_row_has_all_that_a_host_makes_a_domain_of(cloud: Cloud) -> None:
    vm = cloud.read_now(lambda tx: row_of(tx, cloud))
    made = taken(VmDefinition, vm)

    for field in msgspec.structs.fields(Hardware):
        assert getattr(made, field.name) == getattr(vm, field.name), field.name
    assert (made.hostname, made.default_l3_network_uuid) == ("web", cloud.site["l3"])


async def test_a_definition_in_a_journal_of_another_version_is_read_without_what_is_not_known(cloud: Cloud) -> None:
    made = taken(VmDefinition, cloud.read_now(lambda tx: row_of(tx, cloud)))
    journal = msgspec.to_builtins(made) | {"userData": "no base64", "turbo": True}
    assert msgspec.convert(journal, VmDefinition) == made
