"""The volume service, put together."""

from __future__ import annotations

from cairn.kernel.plugin.manifest import Manifest, Parts
from cairn.services.volume.model import Volume
from cairn.services.volume.steps.root import CreateVolume, DeleteVolume, EraseVolume, LoadRoot, RecordRoot


def build(parts: Parts) -> None:
    """Make the service's steps."""
    parts.steps += [
        RecordRoot(parts.extensions),
        LoadRoot(),
        CreateVolume(parts.extensions),
        DeleteVolume(parts.extensions),
        EraseVolume(parts.extensions),
    ]


MANIFEST = Manifest(
    name="volume",
    doc="Disks of VMs.",
    build=build,
    requires=("primary_storage",),
    records=(Volume,),
)
