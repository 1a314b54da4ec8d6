"""What the kernel declares of itself: its tables, settings and steps, as any service does."""

from __future__ import annotations

from cairn.kernel.plugin.manifest import Manifest

MANIFEST = Manifest(package="cairn.kernel", name="kernel", doc="What all services stand on: jobs, workflows, settings.")
