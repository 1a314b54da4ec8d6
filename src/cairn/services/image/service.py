"""The image service: answers the API's calls about images."""

from __future__ import annotations

from cairn.kernel.api import Reference
from cairn.kernel.bus.handlers import handles
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.event import Events
from cairn.kernel.flow.workflow import workflow
from cairn.kernel.jobs import Jobs
from cairn.kernel.resource import changed, existing, gone, state_changed
from cairn.kernel.store.store import Tx
from cairn.services.image.messages import (
    AddImage,
    ChangeImageState,
    DeleteImage,
    ExpungeImage,
    RecoverImage,
    UpdateImage,
)
from cairn.services.image.model import Image, ImageBackupStorageRef, ImageStatus
from cairn.services.image.status import set_status

ADD = workflow(AddImage)
EXPUNGE = workflow(ExpungeImage, unless=gone(Image))


class ImageService:
    """Answers the messages about images that are not workflows."""

    def __init__(self, jobs: Jobs, events: Events) -> None:
        self._jobs = jobs
        self._events = events

    @handles(UpdateImage)
    async def update(self, message: UpdateImage) -> Reference:
        """Change an image's fields; refuse another format."""

        def fn(tx: Tx) -> Reference:
            image = existing(tx, Image, message.uuid)
            if message.format not in (None, image.format):
                raise CairnError(
                    "image.format-fixed",
                    f"format: the image {image.name} is {image.format.value}, because its file is. Add the other file "
                    "as an image of its own.",
                    kind=ErrorKind.CONFLICT,
                    fields={"format": f"found {message.format}; {image.format.value} would fit"},
                )
            return changed(tx, Image, message)

        return await self._jobs.commit(fn)

    @handles(ChangeImageState)
    async def change_state(self, message: ChangeImageState) -> Reference:
        """Enable or disable an image."""
        return await self._jobs.commit(lambda tx: state_changed(tx, Image, message))

    @handles(DeleteImage)
    async def delete(self, message: DeleteImage) -> None:
        """Delete an image or some of its copies; an image that is gone is success."""

        def fn(tx: Tx) -> None:
            image = tx.get(Image, message.uuid, lock=True)
            if image is None:
                return
            if image.status is ImageStatus.DOWNLOADING:
                raise CairnError(
                    "image.wrong-status",
                    f"The image {image.name} is being fetched. Cancel that job, or wait until it has ended.",
                    kind=ErrorKind.CONFLICT,
                    details={"status": image.status.value},
                )
            _mark(tx, image, message.backup_storage_uuids, ImageStatus.READY, ImageStatus.DELETED)
            if not _is_ready_somewhere(tx, image):
                set_status(tx, self._events, image, ImageStatus.DELETED)

        await self._jobs.commit(fn)

    @handles(RecoverImage)
    async def recover(self, message: RecoverImage) -> Reference:
        """Bring an image or some of its copies back."""

        def fn(tx: Tx) -> Reference:
            image = existing(tx, Image, message.image_uuid, "imageUuid", lock=True)
            _mark(tx, image, message.backup_storage_uuids, ImageStatus.DELETED, ImageStatus.READY)
            if not _is_ready_somewhere(tx, image):
                raise CairnError(
                    "image.no-copy",
                    f"The image {image.name} has no copy left that could be recovered. Add it again.",
                    kind=ErrorKind.CONFLICT,
                )
            set_status(tx, self._events, image, ImageStatus.READY)
            return Reference(uuid=image.uuid)

        return await self._jobs.commit(fn)


def _is_ready_somewhere(tx: Tx, image: Image) -> bool:
    return tx.count(ImageBackupStorageRef, image_uuid=image.uuid, status=ImageStatus.READY) > 0


def _mark(tx: Tx, image: Image, storages: list[str] | None, before: ImageStatus, after: ImageStatus) -> None:
    """Copies whose status is `before` become `after`, on some backup storages or (None) all; never those given up."""
    where: dict[str, object] = {"image_uuid": image.uuid, "status": before, "given_up": False}
    if storages is not None:
        where["backup_storage_uuid"] = list(storages)
    tx.update_where(ImageBackupStorageRef, where, status=after, last_op_date=tx.now)
