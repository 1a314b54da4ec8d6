"""The cluster service: answers the API's calls about clusters."""

from __future__ import annotations

from cairn.kernel.api import Reference
from cairn.kernel.bus.handlers import handles
from cairn.kernel.flow.workflow import workflow
from cairn.kernel.jobs import Jobs
from cairn.kernel.resource import changed, create, existing, gone, state_changed
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.services.cluster.messages import ChangeClusterState, CreateCluster, DeleteCluster, UpdateCluster
from cairn.services.cluster.model import Cluster
from cairn.services.zone.model import Zone

DELETE = workflow(DeleteCluster, unless=gone(Cluster))


class ClusterService:
    """Answers the messages about clusters."""

    def __init__(self, jobs: Jobs, tags: Tags) -> None:
        self._jobs = jobs
        self._tags = tags

    @handles(CreateCluster)
    async def create(self, message: CreateCluster) -> Reference:
        """Make a cluster in a zone that exists."""

        def fn(tx: Tx) -> Reference:
            existing(tx, Zone, message.zone_uuid, "zoneUuid")
            return create(tx, self._tags, Cluster, message)

        return await self._jobs.commit(fn)

    @handles(UpdateCluster)
    async def update(self, message: UpdateCluster) -> Reference:
        """Change a cluster's name or description."""
        return await self._jobs.commit(lambda tx: changed(tx, Cluster, message))

    @handles(ChangeClusterState)
    async def change_state(self, message: ChangeClusterState) -> Reference:
        """Enable or disable a cluster."""
        return await self._jobs.commit(lambda tx: state_changed(tx, Cluster, message))
