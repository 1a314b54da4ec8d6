"""The cluster service."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from cairn.kernel.api import DeleteMode, Reference
from cairn.kernel.bus.bus import Bus
from cairn.kernel.error import not_found
from cairn.kernel.flow.engine import FlowEngine
from cairn.kernel.flow.step import Nothing
from cairn.kernel.flow.workflow import Workflow
from cairn.kernel.jobs import Jobs
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.services.cluster.messages import (
    ChangeClusterState,
    ClusterStateEvent,
    CreateCluster,
    DeleteCluster,
    UpdateCluster,
)
from cairn.services.cluster.model import Cluster, ClusterState
from cairn.services.zone.model import Zone


class DeleteParameters(Struct, frozen=True, kw_only=True):
    """Which cluster, and how."""

    entity: str
    resource_uuid: str
    delete_mode: DeleteMode


DELETE = Workflow(
    name="cluster.delete",
    parameters=DeleteParameters,
    answer=Nothing,
    doc="Deletes a cluster and, when enforced, everything in it.",
)


class ClusterService:
    """Answers the messages about clusters."""

    def __init__(self, bus: Bus, jobs: Jobs, flows: Callable[[], FlowEngine], tags: Tags) -> None:
        self._jobs = jobs
        self._flows = flows
        self._tags = tags
        bus.register(CreateCluster, self.create)
        bus.register(UpdateCluster, self.update)
        bus.register(ChangeClusterState, self.change_state)
        bus.register(DeleteCluster, self.delete)

    async def create(self, message: CreateCluster) -> Reference:
        """Make a cluster."""
        self._tags.check("Cluster", message.system_tags)
        uuid = message.resource_uuid
        assert uuid is not None, "the gateway chooses the new cluster's uuid"

        def fn(tx: Tx) -> Reference:
            if tx.get(Zone, message.zone_uuid) is None:
                raise not_found("zone", "zoneUuid", message.zone_uuid)
            tx.insert(
                Cluster(
                    uuid=uuid,
                    name=message.name,
                    description=message.description,
                    zone_uuid=message.zone_uuid,
                    hypervisor_type=message.hypervisor_type.value,
                    type=message.type.value,
                    architecture=message.architecture.value if message.architecture else None,
                    create_date=tx.now,
                    last_op_date=tx.now,
                )
            )
            self._tags.add(tx, "Cluster", uuid, system=message.system_tags, user=message.user_tags)
            return Reference(uuid=uuid)

        return await self._jobs.commit(fn)

    async def update(self, message: UpdateCluster) -> Reference:
        """Change name or description."""

        def fn(tx: Tx) -> Reference:
            cluster = existing(tx, message.uuid)
            tx.update(
                Cluster,
                cluster.uuid,
                name=message.name or cluster.name,
                description=cluster.description if message.description is None else message.description,
                last_op_date=tx.now,
            )
            return Reference(uuid=cluster.uuid)

        return await self._jobs.commit(fn)

    async def change_state(self, message: ChangeClusterState) -> Reference:
        """Enable or disable."""
        enabled = message.state_event is ClusterStateEvent.ENABLE
        state = ClusterState.ENABLED if enabled else ClusterState.DISABLED

        def fn(tx: Tx) -> Reference:
            cluster = existing(tx, message.uuid)
            tx.update(Cluster, cluster.uuid, state=state, last_op_date=tx.now)
            return Reference(uuid=cluster.uuid)

        return await self._jobs.commit(fn)

    async def delete(self, message: DeleteCluster) -> None:
        """Delete; one that is gone is success."""

        def gone(tx: Tx) -> Nothing | None:
            return None if tx.get(Cluster, message.uuid) else Nothing()

        parameters = DeleteParameters(entity="Cluster", resource_uuid=message.uuid, delete_mode=message.delete_mode)
        await self._flows().run(DELETE, parameters, queue=f"cluster:{message.uuid}", unless=gone)


def existing(tx: Tx, uuid: str) -> Cluster:
    """The cluster (``cluster.not-found``)."""
    cluster = tx.get(Cluster, uuid)
    if cluster is None:
        raise not_found("cluster", "uuid", uuid)
    return cluster
