from __future__ import annotations

import pytest

from cairn.services.host.extensions import HostRemoval
from cairn.services.ids import HostId
from cairn.services.vm.model import VmInstance
from cairn.services.vm.on_host import VmsOnHost
from cairn.testing.cloud import Cloud, Refused


def on_host(cloud: Cloud) -> VmsOnHost:
    found = cloud.node.context.extensions.named(HostRemoval, "vm")
    assert isinstance(found, VmsOnHost)
    return found


def why(cloud: Cloud, host: str) -> str | None:
    return cloud.read_now(lambda tx: on_host(cloud).why_not_remove(tx, HostId(host)))


async def test_vms_keep_the_host_that_they_are_on_and_no_other(cloud: Cloud) -> None:
    host = cloud.site["host-1"]
    await cloud.create_vm("second")

    assert why(cloud, host) == "2 VMs are on it"
    assert why(cloud, "f" * 32) is None
    with pytest.raises(Refused, match="2 VMs are on it") as caught:
        await cloud.call("DeleteHost", uuid=host)
    assert caught.value.code == "host.in-use"


async def test_a_vm_that_is_off_keeps_no_host_and_remembers_where_it_was(cloud: Cloud) -> None:
    host, vm = cloud.site["host-1"], cloud.site["vm"]
    await cloud.call("StopVmInstance", uuid=vm)
    before = cloud.read_now(lambda tx: tx.get(VmInstance, vm))

    await cloud.node.context.store.write(lambda tx: on_host(cloud).host_removed(tx, HostId(host)))

    assert why(cloud, host) is None
    assert cloud.read_now(lambda tx: tx.get(VmInstance, vm)) == before
    assert before is not None
    assert (before.host_uuid, before.last_host_uuid) == (None, host)
