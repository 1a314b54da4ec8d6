from __future__ import annotations

import pytest

from cairn.kernel.error import CairnError
from cairn.kernel.flow.step import NOTHING
from cairn.kernel.plugin.extension import Extensions
from cairn.services.l3.steps.network import ApplyNetwork, NetworkInput, ReleaseNetwork
from cairn.services.vm.extensions import VmNetworkService, VmNetworkSpec

GIVEN = NetworkInput(
    vm_uuid="vm", placed_host_uuid="host", hostname="web", nics=[], bridges={"l3": "br"}, user_data="x", ssh_keys=["k"]
)


class Service:
    """A network service that notes what it is told."""

    def __init__(self, name: str, told: list[str], fails: bool = False) -> None:
        self.name = name
        self.told = told
        self.fails = fails

    async def apply(self, vm: VmNetworkSpec) -> None:
        self.told.append(f"apply {self.name} {vm.vm_uuid} on {vm.host_uuid}")
        self._fail()

    async def release(self, vm: VmNetworkSpec) -> None:
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
        await ReleaseNetwork(extensions).do(GIVEN)
    assert told == ["release firewall", "release dhcp"]


async def test_a_cloud_without_network_services_starts_vms_all_the_same() -> None:
    assert await ApplyNetwork(Extensions()).do(GIVEN) == NOTHING
