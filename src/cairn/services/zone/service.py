"""The zone service."""

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
from cairn.services.zone.messages import ChangeZoneState, CreateZone, DeleteZone, UpdateZone, ZoneStateEvent
from cairn.services.zone.model import Zone, ZoneState


class DeleteParameters(Struct, frozen=True, kw_only=True):
    """Which zone, and how."""

    entity: str
    resource_uuid: str
    delete_mode: DeleteMode


DELETE = Workflow(
    name="zone.delete",
    parameters=DeleteParameters,
    answer=Nothing,
    doc="Deletes a zone and, when enforced, everything in it.",
)


class ZoneService:
    """Answers the messages about zones."""

    def __init__(self, bus: Bus, jobs: Jobs, flows: Callable[[], FlowEngine], tags: Tags) -> None:
        self._jobs = jobs
        self._flows = flows
        self._tags = tags
        bus.register(CreateZone, self.create)
        bus.register(UpdateZone, self.update)
        bus.register(ChangeZoneState, self.change_state)
        bus.register(DeleteZone, self.delete)

    async def create(self, message: CreateZone) -> Reference:
        """Make a zone."""
        self._tags.check("Zone", message.system_tags)
        uuid = message.resource_uuid
        assert uuid is not None, "the gateway chooses the new zone's uuid"

        def fn(tx: Tx) -> Reference:
            if message.is_default:
                _no_default(tx)
            tx.insert(
                Zone(
                    uuid=uuid,
                    name=message.name,
                    description=message.description,
                    is_default=message.is_default,
                    create_date=tx.now,
                    last_op_date=tx.now,
                )
            )
            self._tags.add(tx, "Zone", uuid, system=message.system_tags, user=message.user_tags)
            return Reference(uuid=uuid)

        return await self._jobs.commit(fn)

    async def update(self, message: UpdateZone) -> Reference:
        """Change name or description, or which zone is the default."""

        def fn(tx: Tx) -> Reference:
            zone = existing(tx, message.uuid)
            if message.is_default:
                _no_default(tx)
            tx.update(
                Zone,
                zone.uuid,
                name=message.name or zone.name,
                description=zone.description if message.description is None else message.description,
                is_default=zone.is_default if message.is_default is None else message.is_default,
                last_op_date=tx.now,
            )
            return Reference(uuid=zone.uuid)

        return await self._jobs.commit(fn)

    async def change_state(self, message: ChangeZoneState) -> Reference:
        """Enable or disable."""
        enabled = message.state_event is ZoneStateEvent.ENABLE
        state = ZoneState.ENABLED if enabled else ZoneState.DISABLED

        def fn(tx: Tx) -> Reference:
            zone = existing(tx, message.uuid)
            tx.update(Zone, zone.uuid, state=state, last_op_date=tx.now)
            return Reference(uuid=zone.uuid)

        return await self._jobs.commit(fn)

    async def delete(self, message: DeleteZone) -> None:
        """Delete; one that is gone is success."""

        def gone(tx: Tx) -> Nothing | None:
            return None if tx.get(Zone, message.uuid) else Nothing()

        parameters = DeleteParameters(entity="Zone", resource_uuid=message.uuid, delete_mode=message.delete_mode)
        await self._flows().run(DELETE, parameters, queue=f"zone:{message.uuid}", unless=gone)


def existing(tx: Tx, uuid: str) -> Zone:
    """The zone (``zone.not-found``)."""
    zone = tx.get(Zone, uuid)
    if zone is None:
        raise not_found("zone", "uuid", uuid)
    return zone


def _no_default(tx: Tx) -> None:
    """There is one default at most: the one that was is none any more."""
    tx.update_where(Zone, {"is_default": True}, is_default=False)
