"""The offering service: sizes of VMs and of data volumes."""

from __future__ import annotations

from cairn.kernel.api import Reference
from cairn.kernel.bus.handlers import handles
from cairn.kernel.flow.workflow import workflow
from cairn.kernel.jobs import Jobs
from cairn.kernel.resource import changed, create, gone, state_changed
from cairn.kernel.tag import Tags
from cairn.services.offering.messages import (
    ChangeDiskOfferingState,
    ChangeInstanceOfferingState,
    CreateDiskOffering,
    CreateInstanceOffering,
    DeleteDiskOffering,
    DeleteInstanceOffering,
    UpdateDiskOffering,
    UpdateInstanceOffering,
)
from cairn.services.offering.model import DiskOffering, InstanceOffering

DELETE_INSTANCE_OFFERING = workflow(DeleteInstanceOffering, unless=gone(InstanceOffering))
DELETE_DISK_OFFERING = workflow(DeleteDiskOffering, unless=gone(DiskOffering))


class OfferingService:
    """Answers the messages about offerings."""

    def __init__(self, jobs: Jobs, tags: Tags) -> None:
        self._jobs = jobs
        self._tags = tags

    @handles(CreateInstanceOffering)
    async def create_instance_offering(self, message: CreateInstanceOffering) -> Reference:
        """Make a size of VMs."""
        return await self._jobs.commit(lambda tx: create(tx, self._tags, InstanceOffering, message))

    @handles(UpdateInstanceOffering)
    async def update_instance_offering(self, message: UpdateInstanceOffering) -> Reference:
        """Change an instance offering's name, description or strategy."""
        return await self._jobs.commit(lambda tx: changed(tx, InstanceOffering, message))

    @handles(ChangeInstanceOfferingState)
    async def change_instance_offering_state(self, message: ChangeInstanceOfferingState) -> Reference:
        """Enable or disable an instance offering."""
        return await self._jobs.commit(lambda tx: state_changed(tx, InstanceOffering, message))

    @handles(CreateDiskOffering)
    async def create_disk_offering(self, message: CreateDiskOffering) -> Reference:
        """Make a size of data volumes."""
        return await self._jobs.commit(
            lambda tx: create(tx, self._tags, DiskOffering, message, allocator_strategy=message.allocation_strategy)
        )

    @handles(UpdateDiskOffering)
    async def update_disk_offering(self, message: UpdateDiskOffering) -> Reference:
        """Change a disk offering's name or description."""
        return await self._jobs.commit(lambda tx: changed(tx, DiskOffering, message))

    @handles(ChangeDiskOfferingState)
    async def change_disk_offering_state(self, message: ChangeDiskOfferingState) -> Reference:
        """Enable or disable a disk offering."""
        return await self._jobs.commit(lambda tx: state_changed(tx, DiskOffering, message))
