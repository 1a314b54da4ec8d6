"""The audit plugin, put together."""

from __future__ import annotations

from pathlib import Path

from cairn.kernel.plugin.manifest import Manifest, Parts
from cairn_audit import config, tags
from cairn_audit.messages import AddAuditNote
from cairn_audit.model import AuditNote
from cairn_audit.service import AuditService
from cairn_audit.steps import CheckTicket, NoteStart

_FOLDER = Path(__file__).parent


def build(parts: Parts) -> None:
    """Make the plugin's objects, once for each node."""
    AuditService(parts.bus, parts.jobs, parts.tags)
    parts.steps += [CheckTicket(parts.config), NoteStart(parts.ids, parts.tags)]


MANIFEST = Manifest(
    name="audit",
    doc="Notes about what happened to VMs, and the tickets that they were made for.",
    build=build,
    requires=("vm",),
    records=(AuditNote,),
    api=(AddAuditNote,),
    settings=config.ALL,
    tags=tags.ALL,
    workflow_file=_FOLDER / "workflows.toml",
    migrations=_FOLDER / "migrations" / "versions",
)
