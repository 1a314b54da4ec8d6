"""The audit plugin, put together."""

from __future__ import annotations

from pathlib import Path

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn_audit.service import AuditService
from cairn_audit.steps import CheckTicket, NoteStart

_FOLDER = Path(__file__).parent


def build(node: NodeContext) -> None:
    """Make the plugin's objects, once for each node."""
    AuditService(node.bus, node.jobs, node.tags)
    node.steps += [CheckTicket(node.config), NoteStart(node.ids, node.tags)]


MANIFEST = Manifest(
    package="cairn_audit",
    doc="Notes about what happened to VMs, and the tickets that they were made for.",
    build=build,
    requires=("vm",),
    name="audit",
)
