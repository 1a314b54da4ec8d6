"""The volume service, put together."""

from __future__ import annotations

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.volume.steps.root import CreateVolume, DeleteVolume, EraseVolume, LoadRoot, RecordRoot


def build(node: NodeContext) -> None:
    """Make the service's steps."""
    node.steps += [
        RecordRoot(node.extensions),
        LoadRoot(),
        CreateVolume(node.extensions),
        DeleteVolume(node.extensions),
        EraseVolume(node.extensions),
    ]


MANIFEST = Manifest(
    package="cairn.services.volume",
    doc="Disks of VMs.",
    build=build,
    requires=("primary_storage",),
)
