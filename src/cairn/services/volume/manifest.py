"""Volumes, the disks of VMs: their rows and their files."""

from cairn.kernel.plugin.manifest import Manifest

MANIFEST = Manifest(package="cairn.services.volume", requires=("host", "image", "primary_storage"))
