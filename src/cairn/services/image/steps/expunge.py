"""Removing a deleted image, or some of its copies, for good."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.kernel.bus.bus import Bus
from cairn.kernel.error import CairnError
from cairn.kernel.event import Events
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.resource import erase
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.services.image.copies import ImageCopy, ImageFiles, copies_of
from cairn.services.image.model import Image, ImageBackupStorageRef, ImageStatus
from cairn.services.image.status import existing, tell, wrong_status
from cairn.services.primary_storage.messages import DropImageCaches


class BeginExpungeInput(Struct, frozen=True, kw_only=True):
    """Which image, and where; None: everywhere."""

    image_uuid: str
    backup_storage_uuids: list[str] | None


class BeginExpungeOutput(Struct, frozen=True, kw_only=True):
    """What goes."""

    image_copies: list[ImageCopy]
    goes_whole: bool  #: no copy is left, so the image itself goes


class BeginExpunge(TransactionStep[BeginExpungeInput, BeginExpungeOutput]):
    """Give the copies up: from here on they cannot be recovered."""

    name = "image.begin-expunge"
    title = "giving the image up"
    nothing_to_undo: ClassVar[str | None] = "files may be gone already, so it stays given up; trying again goes on"

    def do(self, tx: Tx, given: BeginExpungeInput) -> BeginExpungeOutput:
        """Refuse what was not deleted before; else give it up."""
        image = existing(tx, given.image_uuid, "imageUuid")
        refs = tx.find(ImageBackupStorageRef, image_uuid=image.uuid)
        wanted = given.backup_storage_uuids
        going = [ref for ref in refs if wanted is None or ref.backup_storage_uuid in wanted]
        if image.status is not ImageStatus.DELETED and wanted is None:
            going = [ref for ref in going if ref.status is ImageStatus.DELETED]
        kept = [ref for ref in going if ref.status is not ImageStatus.DELETED]
        if kept or (not going and image.status is not ImageStatus.DELETED):
            raise wrong_status(
                image, f"The image {image.name} is {image.status.value}. Delete it before you expunge it."
            )
        for ref in going:
            tx.update(ImageBackupStorageRef, ref.uuid, given_up=True, last_op_date=tx.now)
        return BeginExpungeOutput(image_copies=copies_of(tx, going), goes_whole=len(going) == len(refs))


class DeleteCopiesInput(Struct, frozen=True, kw_only=True):
    """Which image, and its files."""

    image_uuid: str
    image_copies: list[ImageCopy]


class DeleteCopies(ActionStep[DeleteCopiesInput, Nothing]):
    """Remove the files."""

    name = "image.delete-copies"
    title = "removing the image's files"
    nothing_to_undo: ClassVar[str | None] = "what is removed cannot be brought back; trying again goes on"

    def __init__(self, files: ImageFiles) -> None:
        self._files = files

    async def do(self, given: DeleteCopiesInput) -> Nothing:
        """Remove."""
        for copy, error in await self._files.remove(given.image_copies):
            raise CairnError(
                "image.not-removed",
                f"The image's file could not be removed from the backup storage {copy.backup_storage_name}. Put that "
                "right, and expunge the image again.",
                kind=error.kind,
                cause=error,
            )
        return NOTHING


class DropCachesInput(Struct, frozen=True, kw_only=True):
    """Which image, and whether it goes."""

    image_uuid: str
    goes_whole: bool


class DropCaches(ActionStep[DropCachesInput, Nothing]):
    """Have primary storage drop the caches that no disk is based on."""

    name = "image.drop-caches"
    title = "dropping the image's caches"
    nothing_to_undo: ClassVar[str | None] = "a cache that is gone is only fetched again"

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def do(self, given: DropCachesInput) -> Nothing:
        """Drop."""
        if given.goes_whole:
            await self._bus.call(DropImageCaches(image_uuid=given.image_uuid))
        return NOTHING


class EraseImageInput(Struct, frozen=True, kw_only=True):
    """What is gone."""

    image_uuid: str
    image_copies: list[ImageCopy]
    goes_whole: bool


class EraseImage(TransactionStep[EraseImageInput, Nothing]):
    """Forget the copies and, with the last, the image."""

    name = "image.erase"
    title = "forgetting the image"
    nothing_to_undo: ClassVar[str | None] = "its files are gone by then"

    def __init__(self, tags: Tags, events: Events) -> None:
        self._tags = tags
        self._events = events

    def do(self, tx: Tx, given: EraseImageInput) -> Nothing:
        """Erase."""
        storages = [copy.backup_storage_uuid for copy in given.image_copies]
        tx.delete_where(ImageBackupStorageRef, image_uuid=given.image_uuid, backup_storage_uuid=storages)
        image = tx.get(Image, given.image_uuid)
        if given.goes_whole and image is not None:
            self._tags.forget(tx, image.uuid)
            erase(tx, Image, image.uuid)
            tell(tx, self._events, image, None)
        return NOTHING
