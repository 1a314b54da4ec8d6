"""The cluster service, put together."""

from __future__ import annotations

from pathlib import Path

from cairn.kernel.api import DeleteMode
from cairn.kernel.plugin.manifest import Manifest, Parts
from cairn.services.cluster.messages import ChangeClusterState, CreateCluster, DeleteCluster, UpdateCluster
from cairn.services.cluster.model import Cluster
from cairn.services.cluster.placement import ClosedPlaces
from cairn.services.cluster.service import DELETE, ClusterService
from cairn.services.cluster.steps.delete import EraseCluster
from cairn.services.host.extensions import HostFilter


def build(parts: Parts) -> None:
    """Make the service's objects."""
    ClusterService(parts.bus, parts.jobs, parts.lazy_flows(), parts.tags)
    parts.extensions.provide(HostFilter, ClosedPlaces(), name="cluster")
    parts.cascade.register("Cluster", lambda uuid: DeleteCluster(uuid=uuid, delete_mode=DeleteMode.ENFORCING))
    parts.steps.append(EraseCluster(parts.cascade, parts.tags))


MANIFEST = Manifest(
    name="cluster",
    doc="Hosts of one kind that share networks and storage.",
    build=build,
    requires=("zone",),
    records=(Cluster,),
    api=(CreateCluster, UpdateCluster, ChangeClusterState, DeleteCluster),
    workflows=(DELETE,),
    workflow_file=Path(__file__).parent / "workflows.toml",
)
