"""Removing a deleted image, or some of its copies, for good."""

from __future__ import annotations

from typing import ClassVar

import structlog
from msgspec import Struct

from cairn.kernel.cascade import Cascade
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.event import Events
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.resource import erase, existing
from cairn.kernel.store.store import Tx
from cairn.services.ids import ImageId
from cairn.services.image.copies import ImageCopy, ImageFiles, copies_of
from cairn.services.image.extensions import ImageCaches
from cairn.services.image.messages import ExpungeImage
from cairn.services.image.model import Image, ImageBackupStorageRef, ImageStatus
from cairn.services.image.status import tell

_log = structlog.get_logger("cairn.image")


class BeginExpungeInput(Struct, frozen=True, kw_only=True):
    """The image, and the call."""

    uuid: str
    asked: ExpungeImage


class BeginExpungeOutput(Struct, frozen=True, kw_only=True):
    """The files to remove."""

    image_copies: list[ImageCopy]
    erases_image: bool  #: no copy is left, so the image itself is erased


class BeginExpunge(TransactionStep[BeginExpungeInput, BeginExpungeOutput]):
    """Give the copies up: from here on they cannot be recovered."""

    name = "image.begin-expunge"
    title = "giving the image up"
    nothing_to_undo: ClassVar[str | None] = "files may be gone already, so it stays given up; trying again goes on"

    def __init__(self, cascade: Cascade) -> None:
        self._cascade = cascade

    def do(self, tx: Tx, given: BeginExpungeInput) -> BeginExpungeOutput:
        """Refuse copies that were not deleted before; without a list, only the deleted copies of an image are meant.

        What would keep the image's row from going is told now, while its files are there (``image.in-use``).
        """
        image = existing(tx, Image, given.uuid, "imageUuid", lock=True)
        refs = tx.find(ImageBackupStorageRef, image_uuid=image.uuid)
        wanted = given.asked.backup_storage_uuids
        going = [ref for ref in refs if wanted is None or ref.backup_storage_uuid in wanted]
        if image.status is not ImageStatus.DELETED and wanted is None:
            going = [ref for ref in going if ref.status is ImageStatus.DELETED]
        kept = [ref for ref in going if ref.status is not ImageStatus.DELETED]
        if kept or (not going and image.status is not ImageStatus.DELETED):
            raise CairnError(
                "image.wrong-status",
                f"The image {image.name} is {image.status.value}. Delete it before you expunge it.",
                kind=ErrorKind.CONFLICT,
                details={"status": image.status.value},
            )
        erases_image = len(going) == len(refs)
        if erases_image:
            self._cascade.refuse(tx, Image, image.uuid, noun="image", name=image.name, can_enforce=False)
        for ref in going:
            tx.update(ImageBackupStorageRef, ref.uuid, given_up=True, last_op_date=tx.now)
        return BeginExpungeOutput(image_copies=copies_of(tx, going), erases_image=erases_image)


class DeleteCopiesInput(Struct, frozen=True, kw_only=True):
    """The files of the image that are to be removed."""

    image_copies: list[ImageCopy]


class DeleteCopies(ActionStep[DeleteCopiesInput, Nothing]):
    """Remove the image's files from their backup storages."""

    name = "image.delete-copies"
    title = "removing the image's files"
    nothing_to_undo: ClassVar[str | None] = "what is removed cannot be brought back; trying again goes on"

    def __init__(self, files: ImageFiles) -> None:
        self._files = files

    async def do(self, given: DeleteCopiesInput) -> Nothing:
        """Remove all; a file that cannot be removed now is a debt of its backup storage."""
        await self._files.remove(given.image_copies)
        return NOTHING


class DropCachesInput(Struct, frozen=True, kw_only=True):
    """The image, and whether it is erased with its copies."""

    uuid: str
    erases_image: bool


class DropCaches(ActionStep[DropCachesInput, Nothing]):
    """Have primary storage drop the caches that no disk is based on."""

    name = "image.drop-caches"
    title = "dropping the image's caches"
    nothing_to_undo: ClassVar[str | None] = "a cache that is gone is only fetched again"

    def __init__(self, extensions: Extensions) -> None:
        self._extensions = extensions

    async def do(self, given: DropCachesInput) -> Nothing:
        """Drop the caches; an image that keeps a copy keeps its caches.

        A keeper that fails does not keep the image, whose files are gone by now: it finds what it has later.
        """
        if given.erases_image:
            for caches in self._extensions.of(ImageCaches):
                try:
                    await caches.drop(ImageId(given.uuid))
                except CairnError as error:
                    _log.warning("image.caches-left", image=given.uuid, error=str(error))
        return NOTHING


class EraseImageInput(Struct, frozen=True, kw_only=True):
    """The image, and the copies whose files are gone."""

    uuid: str
    image_copies: list[ImageCopy]
    erases_image: bool


class EraseImage(TransactionStep[EraseImageInput, Nothing]):
    """Forget the copies and, with the last, the image."""

    name = "image.erase"
    title = "forgetting the image"
    nothing_to_undo: ClassVar[str | None] = "its files are gone by then"

    def __init__(self, events: Events) -> None:
        self._events = events

    def do(self, tx: Tx, given: EraseImageInput) -> Nothing:
        """Forget the copies that were removed; announce that the image is gone if it is."""
        storages = [copy.backup_storage_uuid for copy in given.image_copies]
        tx.delete_where(ImageBackupStorageRef, image_uuid=given.uuid, backup_storage_uuid=storages)
        image = tx.get(Image, given.uuid)
        if given.erases_image and image is not None:
            erase(tx, Image, image.uuid)
            tell(tx, self._events, image, None)
        return NOTHING
