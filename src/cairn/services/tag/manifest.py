"""Texts and facts that hang on resources."""

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.tag.ownership import Ownership
from cairn.services.tag.service import TagService


def build(node: NodeContext) -> None:
    node.bus.serve(TagService(node.jobs, node.tags, Ownership(node.store.schema)))


MANIFEST = Manifest(package="cairn.services.tag", build=build, requires=("identity",))
