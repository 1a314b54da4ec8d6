from __future__ import annotations

from collections.abc import Callable

import pytest

from cairn.kernel.flow.engine import FlowProbe
from cairn.kernel.flow.step import AnyStep
from cairn.kernel.store.store import Tx
from cairn.services.vm.l2_users import VmsOnL2Network
from cairn.services.vm.model import VmInstance, VmState
from cairn.testing.cloud import Cloud, Refused


async def detach(cloud: Cloud) -> None:
    await cloud.call("DetachL2NetworkFromCluster", l2_network_uuid=cloud.site["l2"], cluster_uuid=cloud.site["cluster"])


async def test_vms_with_a_place_in_the_cluster_keep_its_l2_network_attached_and_stopped_ones_do_not() -> None:
    async with Cloud.open() as cloud:
        await cloud.make_site()
        vms = [await cloud.create_vm(name) for name in ("web", "db")]
        with pytest.raises(Refused, match="2 VMs on hosts of the cluster have network cards on it") as caught:
            await detach(cloud)
        assert caught.value.code == "l2.in-use"
        for vm in vms:
            await cloud.call("StopVmInstance", uuid=vm["uuid"])
        await detach(cloud)


class AtBridges(FlowProbe):
    """Looks at the cloud when a VM's host has its bridges, and the VM is still to start there."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look

    def done(self, workflow: str, step: AnyStep) -> None:
        if step.name == "l3.realize":
            self._look()


async def test_a_vm_is_counted_from_the_moment_that_it_claims_a_host() -> None:
    seen: list[tuple[VmState, str | None]] = []

    def look() -> None:
        why = cloud.read_now(lambda tx: VmsOnL2Network().why_not_detach(tx, cloud.site["l2"], cloud.site["cluster"]))
        (vm,) = cloud.read_now(lambda tx: tx.find(VmInstance))
        seen.append((vm.state, why))

    async with Cloud.open(probe=AtBridges(look)) as cloud:
        await cloud.make_site()
        vm = await cloud.create_vm("web", strategy="CreateStopped")
        await cloud.call("StartVmInstance", uuid=vm["uuid"])

    assert seen == [(VmState.STARTING, "1 VMs on hosts of the cluster have network cards on it")]


async def test_vms_of_other_networks_and_clusters_do_not_count() -> None:
    async with Cloud.open() as cloud:
        await cloud.make_site()
        await cloud.create_vm("web")
        l2, cluster, none = cloud.site["l2"], cloud.site["cluster"], "0" * 32

        def look(tx: Tx) -> list[str | None]:
            users = VmsOnL2Network()
            return [users.why_not_detach(tx, l2, none), users.why_not_detach(tx, none, cluster)]

        assert cloud.read_now(look) == [None, None]
