"""The offering service, put together."""

from __future__ import annotations

from cairn.kernel.plugin.manifest import Manifest, Parts
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
from cairn.services.offering.service import OfferingService


def build(parts: Parts) -> None:
    """Make the service's objects."""
    OfferingService(parts.bus, parts.jobs, parts.tags, parts.cascade)


MANIFEST = Manifest(
    name="offering",
    doc="Sizes of VMs and of data volumes.",
    build=build,
    records=(InstanceOffering, DiskOffering),
    api=(
        CreateInstanceOffering,
        UpdateInstanceOffering,
        ChangeInstanceOfferingState,
        DeleteInstanceOffering,
        CreateDiskOffering,
        UpdateDiskOffering,
        ChangeDiskOfferingState,
        DeleteDiskOffering,
    ),
)
