"""A cloud with a site for each test; afterwards everything is deleted through the API, and nothing may be left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

import pytest
from tests.flows.world import broken_rules, database, hosts

from cairn.testing.cloud import Cloud, Saved

#: tables that are not of anything that was made: what the cloud is born with, and what it remembers of what is gone
BORN_WITH = frozenset(
    {
        "authority",
        "cloud",
        "former_uuid",
        "global_config",
        "network_service_provider",
        "network_service_type",
        "plugin_trace",
    }
)
_SAVED: dict[int, Saved] = {}


async def saved_site(count: int = 2) -> Saved:
    """A site with so many hosts; made once."""
    if count not in _SAVED:
        async with Cloud.open(hosts=count) as cloud:
            await cloud.log_in()
            await cloud.make_site()
            await cloud.quiet(1)
            _SAVED[count] = cloud.save()
    return _SAVED[count]


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    """Two simulated hosts and all that VMs need. Each transaction is rehearsed: a store under load may run it twice."""
    async with Cloud.open(saved=await saved_site(), rehearses=True) as made:
        yield made
        made.agents.dials.clear()
        await made.log_in()
        for _ in range(20):
            if not await made.query("Host", "status!=Connected"):
                break
            await made.quiet(60)  # lost hosts come back
        await delete_everything(made)
        assert left_over(made) == []


async def delete_everything(cloud: Cloud) -> None:
    """Through the API, as an administrator, each thing by itself."""
    for vm in await cloud.query("VmInstance"):
        await cloud.call("DestroyVmInstance", uuid=vm["uuid"])
        await cloud.call("ExpungeVmInstance", uuid=vm["uuid"])
    for image in await cloud.query("Image"):
        await cloud.call("DeleteImage", uuid=image["uuid"])
        await cloud.call("ExpungeImage", image_uuid=image["uuid"])
    for storage in await cloud.query("PrimaryStorage"):
        for cluster in cast("list[str]", storage["attachedClusterUuids"]):
            await cloud.call(
                "DetachPrimaryStorageFromCluster", primary_storage_uuid=storage["uuid"], cluster_uuid=cluster
            )
    for entity in ("L3Network", "L2Network", "Host", "PrimaryStorage", "BackupStorage", "Cluster", "Zone"):
        for row in await cloud.query(entity):
            await cloud.call(f"Delete{entity}", uuid=row["uuid"])
    for entity in ("InstanceOffering", "DiskOffering"):
        for row in await cloud.query(entity):
            await cloud.call(f"Delete{entity}", uuid=row["uuid"])
    for row in await cloud.query("Account", "name!=admin"):
        await cloud.call("DeleteAccount", uuid=row["uuid"])


def left_over(cloud: Cloud) -> list[str]:
    """What there is in an emptied cloud, a line each."""
    lines = broken_rules(cloud)
    for table, rows in database(cloud).items():
        if table not in BORN_WITH:
            lines += [f"{table}: {row}" for row in rows.values() if row.get("name") != "admin"]
    for name, host in hosts(cloud).items():
        there = (
            host.host,
            host.vms,
            host.volumes,
            host.images,
            host.leases,
            host.metadata,
            host.bridges,
            host.consoles,
        )
        lines += [f"on {name}: {thing}" for thing in there if thing]
    return lines
