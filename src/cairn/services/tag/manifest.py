"""The tag service, put together."""

from __future__ import annotations

from cairn.kernel.plugin.manifest import Manifest, Parts
from cairn.kernel.tag import SystemTag, UserTag
from cairn.services.tag.messages import CreateSystemTag, CreateUserTag, DeleteTag, UpdateSystemTag
from cairn.services.tag.ownership import Ownership
from cairn.services.tag.service import TagService


def build(parts: Parts) -> None:
    """Make the service's objects."""
    TagService(parts.bus, parts.jobs, parts.tags, Ownership(parts.store.schema))


MANIFEST = Manifest(
    name="tag",
    doc="Texts and facts that hang on resources.",
    build=build,
    requires=("identity",),
    records=(SystemTag, UserTag),
    api=(CreateSystemTag, CreateUserTag, UpdateSystemTag, DeleteTag),
)
