"""The zone service, put together."""

from __future__ import annotations

from pathlib import Path

from cairn.kernel.api import DeleteMode
from cairn.kernel.plugin.manifest import Manifest, Parts
from cairn.services.zone.messages import ChangeZoneState, CreateZone, DeleteZone, UpdateZone
from cairn.services.zone.model import Zone
from cairn.services.zone.service import DELETE, ZoneService
from cairn.services.zone.steps.delete import EraseZone


def build(parts: Parts) -> None:
    """Make the service's objects."""
    ZoneService(parts.bus, parts.jobs, parts.lazy_flows(), parts.tags)
    parts.cascade.register("Zone", lambda uuid: DeleteZone(uuid=uuid, delete_mode=DeleteMode.ENFORCING))
    parts.steps.append(EraseZone(parts.cascade, parts.tags))


MANIFEST = Manifest(
    name="zone",
    doc="Data centers.",
    build=build,
    requires=("admin",),
    records=(Zone,),
    api=(CreateZone, UpdateZone, ChangeZoneState, DeleteZone),
    workflows=(DELETE,),
    workflow_file=Path(__file__).parent / "workflows.toml",
)
