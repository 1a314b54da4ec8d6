"""The image service, put together."""

from __future__ import annotations

from pathlib import Path

from cairn.kernel.api import DeleteMode
from cairn.kernel.plugin.manifest import Manifest, Parts
from cairn.services.backup_storage.extensions import BackupStorageContent
from cairn.services.image import config
from cairn.services.image.copies import ImageFiles, ImagesOnBackupStorage
from cairn.services.image.messages import (
    AddImage,
    ChangeImageState,
    DeleteImage,
    ExpungeImage,
    RecoverImage,
    UpdateImage,
)
from cairn.services.image.model import Image, ImageBackupStorageRef
from cairn.services.image.service import ADD, EXPUNGE, ImageService
from cairn.services.image.steps.add import FetchImage, FinishAdd, RecordImage
from cairn.services.image.steps.choose import ChooseImage
from cairn.services.image.steps.expunge import BeginExpunge, DeleteCopies, DropCaches, EraseImage


def build(parts: Parts) -> None:
    """Make the service's objects."""
    files = ImageFiles(parts.extensions, parts.config)
    ImageService(parts.bus, parts.jobs, parts.lazy_flows(), parts.tags, parts.events)
    content = ImagesOnBackupStorage(parts.store, parts.events, files)
    parts.extensions.provide(BackupStorageContent, content, name="image")
    parts.cascade.register(
        "Image",
        lambda uuid: [DeleteImage(uuid=uuid, delete_mode=DeleteMode.ENFORCING), ExpungeImage(image_uuid=uuid)],
    )
    parts.steps += [
        RecordImage(parts.ids, parts.tags),
        FetchImage(parts.extensions, parts.config, files),
        FinishAdd(parts.events),
        ChooseImage(parts.extensions),
        BeginExpunge(),
        DeleteCopies(files),
        DropCaches(parts.bus),
        EraseImage(parts.tags, parts.events),
    ]


MANIFEST = Manifest(
    name="image",
    doc="What disks are made from, fetched onto backup storages.",
    build=build,
    requires=("backup_storage", "primary_storage"),
    records=(Image, ImageBackupStorageRef),
    api=(AddImage, UpdateImage, ChangeImageState, DeleteImage, RecoverImage, ExpungeImage),
    settings=config.ALL,
    workflows=(ADD, EXPUNGE),
    workflow_file=Path(__file__).parent / "workflows.toml",
)
