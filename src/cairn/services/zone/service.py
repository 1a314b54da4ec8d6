"""The zone service: answers the API's calls about zones."""

from __future__ import annotations

from cairn.kernel.api import Reference
from cairn.kernel.bus.handlers import handles
from cairn.kernel.flow.workflow import workflow
from cairn.kernel.jobs import Jobs
from cairn.kernel.resource import changed, create, gone, state_changed
from cairn.kernel.store.mutex import hold
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.services.zone.messages import ChangeZoneState, CreateZone, DeleteZone, UpdateZone
from cairn.services.zone.model import Zone

DELETE = workflow(DeleteZone, unless=gone(Zone))


class ZoneService:
    """Answers the messages about zones."""

    def __init__(self, jobs: Jobs, tags: Tags) -> None:
        self._jobs = jobs
        self._tags = tags

    @handles(CreateZone)
    async def create(self, message: CreateZone) -> Reference:
        """Make a zone; if it is to be the default, it takes that from the zone that was."""

        def fn(tx: Tx) -> Reference:
            _one_default(tx, message)
            return create(tx, self._tags, Zone, message)

        return await self._jobs.commit(fn)

    @handles(UpdateZone)
    async def update(self, message: UpdateZone) -> Reference:
        """Change a zone's name or description, or make it the default."""

        def fn(tx: Tx) -> Reference:
            _one_default(tx, message)
            return changed(tx, Zone, message)

        return await self._jobs.commit(fn)

    @handles(ChangeZoneState)
    async def change_state(self, message: ChangeZoneState) -> Reference:
        """Enable or disable a zone."""
        return await self._jobs.commit(lambda tx: state_changed(tx, Zone, message))


def _one_default(tx: Tx, message: CreateZone | UpdateZone) -> None:
    """Take the default away from the zone that has it, if the call asks for it."""
    if message.is_default:
        hold(tx, "zone.default")  # or another that becomes the default at the same time would not be seen
        tx.update_where(Zone, {"is_default": True}, is_default=False)
