from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cairn.kernel.error import CairnError
from cairn.kernel.flow.step import NOTHING
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store, Tx
from cairn.services.host.extensions import Candidate
from cairn.services.host.provided import HostLedger
from cairn.services.ids import ClusterId, HostId, L3NetworkId, VmId, ZoneId
from cairn.services.l3.messages import ClaimedAddress
from cairn.services.vm.definition import VmDefinition
from cairn.services.vm.extensions import VmNetworks, VmNetworkService
from cairn.services.vm.model import VmNic
from cairn.services.vm.steps.network import ApplyInput, ApplyNetwork, Readdress, ReaddressInput
from cairn.services.vm.upkeep.served import ServedVms
from cairn.testing.clock import VirtualClock
from cairn.testing.cloud import Cloud
from cairn.testing.owner import sole_bus

GIVEN = ApplyInput(
    vm=VmDefinition(
        uuid=VmId("vm"),
        name="web",
        cpu_num=1,
        memory_size=1,
        default_l3_network_uuid=L3NetworkId("l3"),
        hostname="web",
        user_data=b"x",
        ssh_keys=["k"],
    ),
    place=Candidate(host_uuid=HostId("host"), cluster_uuid=ClusterId("cluster"), zone_uuid=ZoneId("zone"), name="sim"),
    nics=[],
    bridges={"l3": "br"},
)


class Service:
    """A network service that notes what it is told."""

    def __init__(self, name: str, told: list[str], fails: bool = False) -> None:
        self.name = name
        self.told = told
        self.fails = fails

    async def apply(self, vm: VmNetworks) -> None:
        self.told.append(f"apply {self.name} {vm.uuid} on {vm.host_uuid}")
        self._fail()

    async def release(self, vm: VmNetworks) -> None:
        self.told.append(f"release {self.name}")
        self._fail()

    def _fail(self) -> None:
        if self.fails:
            raise CairnError("some.thing", f"{self.name} cannot.")


def cloud(*services: Service) -> Extensions:
    extensions = Extensions()
    for service in services:
        extensions.provide(VmNetworkService, service, name=service.name)
    return extensions


class Ledger(HostLedger):
    """Notes who gave a claim back."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    def hold(self, tx: Tx, vm: VmId, host: HostId, *, cpu_num: int, memory_bytes: int) -> None:
        raise AssertionError("nothing is held")

    def release(self, tx: Tx, vm: VmId) -> HostId | None:
        self.told.append(f"claim of {vm} given back")
        return None


def served(extensions: Extensions) -> ServedVms:
    return ServedVms(sole_bus(VirtualClock()), extensions)


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = await Store.memory(Schema([]), VirtualClock(), inline=True)
    yield store
    await store.close()


async def test_every_service_is_told_in_order_and_let_go_in_reverse_after_the_claim(store: Store) -> None:
    told: list[str] = []
    extensions = cloud(Service("dhcp", told), Service("firewall", told))
    step = ApplyNetwork(store, served(extensions), Ledger(told))
    await step.do(GIVEN)
    await step.undo(GIVEN, NOTHING)
    assert told == [
        "apply dhcp vm on host",
        "apply firewall vm on host",
        "claim of vm given back",
        "release firewall",
        "release dhcp",
    ]


async def test_a_service_that_cannot_release_does_not_keep_the_others_from_it(store: Store) -> None:
    told: list[str] = []
    extensions = cloud(Service("dhcp", told), Service("firewall", told, fails=True))
    with pytest.raises(CairnError, match="firewall cannot"):
        await ApplyNetwork(store, served(extensions), Ledger([])).undo(GIVEN, None)
    assert told == ["release firewall", "release dhcp"]


async def test_a_cloud_without_network_services_starts_vms_all_the_same(store: Store) -> None:
    assert await ApplyNetwork(store, served(Extensions()), Ledger([])).do(GIVEN) == NOTHING


def test_services_are_told_all_of_the_vm_that_concerns_them() -> None:
    assert GIVEN.networks() == VmNetworks(
        uuid=VmId("vm"),
        host_uuid=HostId("host"),
        hostname="web",
        nics=[],
        bridges={"l3": "br"},
        user_data=b"x",
        ssh_keys=["k"],
    )


async def test_an_address_goes_to_the_card_in_its_network_and_to_no_other_vms(cloud: Cloud) -> None:
    other = await cloud.create_vm("other")
    (before,) = cloud.read_now(lambda tx: tx.find(VmNic, vm_instance_uuid=str(other["uuid"])))
    address = ClaimedAddress(
        l3_network_uuid=L3NetworkId(cloud.site["l3"]),
        used_ip_uuid="u" * 32,
        ip_range_uuid="r" * 32,
        ip="10.89.0.200",
        netmask="255.255.0.0",
        gateway="10.89.0.1",
    )
    given = ReaddressInput(uuid=cloud.site["vm"], readdressed=[address])
    for _ in range(2):
        await cloud.node.context.store.write(lambda tx: Readdress().do(tx, given))
    (nic,) = cloud.read_now(lambda tx: tx.find(VmNic, vm_instance_uuid=cloud.site["vm"]))
    assert (nic.ip, nic.used_ip_uuid) == ("10.89.0.200", "u" * 32)
    assert cloud.read_now(lambda tx: tx.find(VmNic, vm_instance_uuid=str(other["uuid"]))) == [before]
