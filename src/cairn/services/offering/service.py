"""The offering service: sizes of VMs and of data volumes."""

from __future__ import annotations

from cairn.kernel.api import Reference
from cairn.kernel.bus.bus import Bus
from cairn.kernel.cascade import Cascade
from cairn.kernel.error import invalid, not_found
from cairn.kernel.jobs import Jobs
from cairn.kernel.resource import erase, write
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.services.offering.messages import (
    ChangeDiskOfferingState,
    ChangeInstanceOfferingState,
    CreateDiskOffering,
    CreateInstanceOffering,
    DeleteDiskOffering,
    DeleteInstanceOffering,
    OfferingStateEvent,
    UpdateDiskOffering,
    UpdateInstanceOffering,
)
from cairn.services.offering.model import DiskOffering, InstanceOffering, OfferingState

Offering = type[InstanceOffering] | type[DiskOffering]


class OfferingService:
    """Answers the messages about offerings."""

    def __init__(self, bus: Bus, jobs: Jobs, tags: Tags, cascade: Cascade) -> None:
        self._jobs = jobs
        self._tags = tags
        self._cascade = cascade
        bus.register(CreateInstanceOffering, self.create_instance_offering)
        bus.register(UpdateInstanceOffering, self.update_instance_offering)
        bus.register(ChangeInstanceOfferingState, self.change_instance_offering_state)
        bus.register(DeleteInstanceOffering, self.delete_instance_offering)
        bus.register(CreateDiskOffering, self.create_disk_offering)
        bus.register(UpdateDiskOffering, self.update_disk_offering)
        bus.register(ChangeDiskOfferingState, self.change_disk_offering_state)
        bus.register(DeleteDiskOffering, self.delete_disk_offering)

    async def create_instance_offering(self, message: CreateInstanceOffering) -> Reference:
        """Make a size of VMs."""
        self._tags.check("InstanceOffering", message.system_tags)
        uuid = message.resource_uuid
        assert uuid is not None, "the gateway chooses the new offering's uuid"
        if message.reserved_memory_size > message.memory_size:
            raise invalid(
                "instance-offering.too-much-reserved",
                "reservedMemorySize",
                message.reserved_memory_size,
                f"0 to memorySize, which is {message.memory_size}, would fit",
            )

        def fn(tx: Tx) -> Reference:
            write(
                tx,
                InstanceOffering(
                    uuid=uuid,
                    name=message.name,
                    description=message.description,
                    cpu_num=message.cpu_num,
                    memory_size=message.memory_size,
                    reserved_memory_size=message.reserved_memory_size,
                    allocator_strategy=message.allocator_strategy,
                    sort_key=message.sort_key,
                    type=message.type.value,
                    create_date=tx.now,
                    last_op_date=tx.now,
                ),
            )
            self._tags.add(tx, "InstanceOffering", uuid, system=message.system_tags, user=message.user_tags)
            return Reference(uuid=uuid)

        return await self._jobs.commit(fn)

    async def update_instance_offering(self, message: UpdateInstanceOffering) -> Reference:
        """Change name, description or strategy."""

        def fn(tx: Tx) -> Reference:
            row = tx.get(InstanceOffering, message.uuid)
            if row is None:
                raise not_found("instance-offering", "uuid", message.uuid)
            tx.update(
                InstanceOffering,
                row.uuid,
                name=message.name or row.name,
                description=row.description if message.description is None else message.description,
                allocator_strategy=message.allocator_strategy or row.allocator_strategy,
                last_op_date=tx.now,
            )
            return Reference(uuid=row.uuid)

        return await self._jobs.commit(fn)

    async def change_instance_offering_state(self, message: ChangeInstanceOfferingState) -> Reference:
        """Enable or disable."""
        return await self._change_state(InstanceOffering, "instance-offering", message.uuid, message.state_event)

    async def delete_instance_offering(self, message: DeleteInstanceOffering) -> None:
        """Delete; VMs' references become null by the database."""
        await self._delete(InstanceOffering, "instance-offering", message.uuid)

    async def create_disk_offering(self, message: CreateDiskOffering) -> Reference:
        """Make a size of data volumes."""
        self._tags.check("DiskOffering", message.system_tags)
        uuid = message.resource_uuid
        assert uuid is not None, "the gateway chooses the new offering's uuid"

        def fn(tx: Tx) -> Reference:
            write(
                tx,
                DiskOffering(
                    uuid=uuid,
                    name=message.name,
                    description=message.description,
                    disk_size=message.disk_size,
                    allocator_strategy=message.allocation_strategy,
                    sort_key=message.sort_key,
                    type=message.type.value,
                    create_date=tx.now,
                    last_op_date=tx.now,
                ),
            )
            self._tags.add(tx, "DiskOffering", uuid, system=message.system_tags, user=message.user_tags)
            return Reference(uuid=uuid)

        return await self._jobs.commit(fn)

    async def update_disk_offering(self, message: UpdateDiskOffering) -> Reference:
        """Change name or description."""

        def fn(tx: Tx) -> Reference:
            row = tx.get(DiskOffering, message.uuid)
            if row is None:
                raise not_found("disk-offering", "uuid", message.uuid)
            tx.update(
                DiskOffering,
                row.uuid,
                name=message.name or row.name,
                description=row.description if message.description is None else message.description,
                last_op_date=tx.now,
            )
            return Reference(uuid=row.uuid)

        return await self._jobs.commit(fn)

    async def change_disk_offering_state(self, message: ChangeDiskOfferingState) -> Reference:
        """Enable or disable."""
        return await self._change_state(DiskOffering, "disk-offering", message.uuid, message.state_event)

    async def delete_disk_offering(self, message: DeleteDiskOffering) -> None:
        """Delete; volumes' references become null by the database."""
        await self._delete(DiskOffering, "disk-offering", message.uuid)

    async def _change_state(self, kind: Offering, noun: str, uuid: str, event: OfferingStateEvent) -> Reference:
        state = OfferingState.ENABLED if event is OfferingStateEvent.ENABLE else OfferingState.DISABLED

        def fn(tx: Tx) -> Reference:
            if not tx.update(kind, uuid, state=state, last_op_date=tx.now):
                raise not_found(noun, "uuid", uuid)
            return Reference(uuid=uuid)

        return await self._jobs.commit(fn)

    async def _delete(self, kind: Offering, noun: str, uuid: str) -> None:
        """Delete; one that is gone is success. A plugin may have tables that need it: then it is refused."""

        def fn(tx: Tx) -> None:
            row = tx.get(kind, uuid)
            if row is None:
                return
            self._cascade.refuse(tx, kind, row.uuid, noun=noun, name=row.name, can_enforce=False)
            self._tags.forget(tx, row.uuid)
            erase(tx, kind, row.uuid)

        await self._jobs.commit(fn)
