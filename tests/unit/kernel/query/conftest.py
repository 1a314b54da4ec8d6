from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.kernel import sample
from tests.unit.kernel.sample import (
    L3,
    Host,
    HostId,
    KvmHost,
    Limits,
    Share,
    Storage,
    StorageHost,
    SystemTag,
    UserTag,
    VmId,
    VmInstance,
    VmNic,
    Volume,
    ZoneId,
    ZoneState,
    zone,
)

from cairn.kernel.query import QueryEngine, Shares
from cairn.kernel.store import Store, Tx
from cairn.testing.clock import VirtualClock

SHARES = Shares(table="share")


def fill(tx: Tx) -> None:
    """Two zones, three hosts (two of them KVM), three VMs of two accounts, networks, storage, tags."""
    tx.insert_many([zone(1, limits=Limits(racks=["r1"]), photo=b"\1"), zone(2, state=ZoneState.DISABLED, secret="s")])
    tx.insert(Host(uuid=HostId("h1"), name="alpha", hypervisor_type="KVM", zone_uuid=ZoneId("z1"), memory=8))
    tx.insert(Host(uuid=HostId("h2"), name="beta", hypervisor_type="KVM", zone_uuid=ZoneId("z2"), memory=16))
    tx.insert(Host(uuid=HostId("h3"), name="gamma", hypervisor_type="ESX", zone_uuid=ZoneId("z1"), memory=32))
    tx.insert(KvmHost(uuid=HostId("h1"), username="root"))
    tx.insert(KvmHost(uuid=HostId("h2"), username="admin", gateway_uuid=HostId("h1")))
    tx.insert_many([Storage(uuid="s1", url="/A"), Storage(uuid="s2", url="/b")])
    tx.insert_many([StorageHost(uuid=f"r{n}", storage_uuid="s1", host_uuid=f"h{n}") for n in (2, 1)])
    tx.insert_many([L3(uuid="l1", name="flat"), L3(uuid="l2", name="vxlan")])
    tx.insert(VmInstance(uuid=VmId("v2"), name="Web", account_uuid="ann", host_uuid=HostId("h1"), cpu_num=2))
    tx.insert(VmInstance(uuid=VmId("v1"), name="db_1", account_uuid="bob", host_uuid=HostId("h2"), cpu_num=4))
    tx.insert(VmInstance(uuid=VmId("v3"), name="web2", account_uuid="ann", state=ZoneState.DISABLED))
    tx.insert(VmNic(uuid="n1", vm_uuid=VmId("v2"), l3_network_uuid="l1", ip="10.0.0.5"))
    tx.insert(VmNic(uuid="n2", vm_uuid=VmId("v2"), l3_network_uuid="l2", ip="10.1.0.5"))
    tx.insert(VmNic(uuid="n3", vm_uuid=VmId("v1"), l3_network_uuid="l1"))
    tx.insert(Volume(uuid="d1", name="root", account_uuid="ann", size=10, vm_uuid=VmId("v2")))
    tx.insert(Volume(uuid="d2", name="spare", account_uuid="bob", size=20))
    tx.update(VmInstance, "v2", root_volume_uuid="d1")
    tx.insert_many(
        [
            SystemTag(uuid="t1", resource_uuid="v2", tag="hostname::web"),
            SystemTag(uuid="t2", resource_uuid="h1", tag="x"),
        ]
    )
    tx.insert(UserTag(uuid="u1", resource_uuid="v1", tag="gold"))
    tx.insert(Share(uuid="w1", resource_uuid="v1", account_uuid="cat"))
    tx.insert(Share(uuid="w2", resource_uuid="v3", to_public=True))


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    """A store with the little cloud of `fill`."""
    made = await Store.memory(sample.schema(), VirtualClock(), inline=True)
    await made.write(fill)
    yield made
    await made.close()


@pytest.fixture
def engine(store: Store) -> QueryEngine:
    """An engine on it."""
    return QueryEngine(store.schema, store, tags=sample.TAGS)
