"""The image service, put together."""

from __future__ import annotations

from cairn.kernel.api import DeleteMode
from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.backup_storage.extensions import BackupStorageContent
from cairn.services.image.copies import ImageFiles, ImagesOnBackupStorage
from cairn.services.image.messages import (
    DeleteImage,
    ExpungeImage,
)
from cairn.services.image.service import ImageService
from cairn.services.image.steps.add import FetchImage, FinishAdd, RecordImage
from cairn.services.image.steps.choose import ChooseImage
from cairn.services.image.steps.expunge import BeginExpunge, DeleteCopies, DropCaches, EraseImage


def build(node: NodeContext) -> None:
    """Make the service's objects."""
    files = ImageFiles(node.extensions, node.config)
    ImageService(node.bus, node.jobs, node.lazy_flows(), node.tags, node.events)
    content = ImagesOnBackupStorage(node.store, node.events, files)
    node.extensions.provide(BackupStorageContent, content, name="image")
    node.cascade.register(
        "Image",
        lambda uuid: [DeleteImage(uuid=uuid, delete_mode=DeleteMode.ENFORCING), ExpungeImage(image_uuid=uuid)],
    )
    node.steps += [
        RecordImage(node.ids, node.tags),
        FetchImage(node.extensions, node.config, files),
        FinishAdd(node.events),
        ChooseImage(node.extensions),
        BeginExpunge(),
        DeleteCopies(files),
        DropCaches(node.bus),
        EraseImage(node.tags, node.events),
    ]


MANIFEST = Manifest(
    package="cairn.services.image",
    doc="What disks are made from, fetched onto backup storages.",
    build=build,
    requires=("backup_storage", "primary_storage"),
)
