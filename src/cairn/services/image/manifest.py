"""The image service, put together."""

from __future__ import annotations

from cairn.kernel.api import DeleteMode
from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.backup_storage.extensions import BackupStorageContent
from cairn.services.backup_storage.provided import BackupStorageAgents
from cairn.services.image.copies import ImageFiles, ImagesOnBackupStorage
from cairn.services.image.messages import DeleteImage, ExpungeImage
from cairn.services.image.service import ImageService


def build(node: NodeContext) -> tuple[ImageFiles]:
    """Make the service, and what removes images' files."""
    files = ImageFiles(node.need(BackupStorageAgents), node.config)
    node.bus.serve(ImageService(node.jobs, node.events))
    content = ImagesOnBackupStorage(node.store, node.events, files)
    node.extensions.provide(BackupStorageContent, content, name="image")
    node.cascade.register(
        "Image",
        lambda uuid: [DeleteImage(uuid=uuid, delete_mode=DeleteMode.ENFORCING), ExpungeImage(image_uuid=uuid)],
    )
    return (files,)


MANIFEST = Manifest(
    package="cairn.services.image",
    doc="What disks are made from, fetched onto backup storages.",
    build=build,
    requires=("backup_storage",),
)
