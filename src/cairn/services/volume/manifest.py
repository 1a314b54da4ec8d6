"""The volume service, put together."""

from __future__ import annotations

from cairn.kernel.plugin.manifest import Manifest

MANIFEST = Manifest(
    package="cairn.services.volume",
    doc="Disks of VMs.",
    requires=("host", "image", "primary_storage"),
)
