"""Calls that tests of hosts begin with."""

from __future__ import annotations

from tests.unit.services.image_site import ORIGIN, ZONE, Site

from cairn.plugins.simulator.messages import AddSimulatorHost
from cairn.services.cluster.messages import CreateCluster, HypervisorType


async def cluster(site: Site, kind: HypervisorType = HypervisorType.SIMULATOR) -> str:
    """A new cluster in the zone."""
    message = CreateCluster(resource_uuid=site.ids.new(), name="c", zone_uuid=ZONE, hypervisor_type=kind)
    return (await site.call(message)).uuid


def add(site: Site, cluster_uuid: str, name: str = "sim-0001", **given: object) -> AddSimulatorHost:
    """The call that adds a simulated host."""
    fields: dict[str, object] = {
        "resource_uuid": site.ids.new(),
        "name": name,
        "management_ip": name,
        "cluster_uuid": cluster_uuid,
        "url": f"{ORIGIN}/hosts/{name}",
    }
    return AddSimulatorHost(**{**fields, **given})  # type: ignore[arg-type]
