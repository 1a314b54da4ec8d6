from __future__ import annotations

import pytest

from cairn.kernel.error import CairnError
from cairn.kernel.flow.step import NOTHING
from cairn.kernel.plugin.extension import Extensions
from cairn.services.host.extensions import Candidate
from cairn.services.ids import ClusterId, HostId, L3NetworkId, VmId, ZoneId
from cairn.services.vm.definition import VmDefinition
from cairn.services.vm.extensions import VmNetworks, VmNetworkService
from cairn.services.vm.steps.network import ApplyInput, ApplyNetwork

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


async def test_every_service_is_told_in_order_and_let_go_in_reverse() -> None:
    told: list[str] = []
    extensions = cloud(Service("dhcp", told), Service("firewall", told))
    step = ApplyNetwork(extensions)
    await step.do(GIVEN)
    await step.undo(GIVEN, NOTHING)
    assert told == ["apply dhcp vm on host", "apply firewall vm on host", "release firewall", "release dhcp"]


async def test_a_service_that_cannot_release_does_not_keep_the_others_from_it() -> None:
    told: list[str] = []
    extensions = cloud(Service("dhcp", told), Service("firewall", told, fails=True))
    with pytest.raises(CairnError, match="firewall cannot"):
        await ApplyNetwork(extensions).undo(GIVEN, None)
    assert told == ["release firewall", "release dhcp"]


async def test_a_cloud_without_network_services_starts_vms_all_the_same() -> None:
    assert await ApplyNetwork(Extensions()).do(GIVEN) == NOTHING


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
