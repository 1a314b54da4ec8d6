"""The image service."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from msgspec import Struct

from cairn.kernel.api import Reference
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.context import current
from cairn.kernel.error import CairnError, ErrorKind, invalid
from cairn.kernel.event import Events
from cairn.kernel.flow.engine import FlowEngine
from cairn.kernel.flow.step import Nothing
from cairn.kernel.flow.workflow import Workflow
from cairn.kernel.jobs import Jobs
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.services.image.messages import (
    AddImage,
    ChangeImageState,
    DeleteImage,
    ExpungeImage,
    ImageFormat,
    ImageStateEvent,
    RecoverImage,
    UpdateImage,
)
from cairn.services.image.model import Image, ImageBackupStorageRef, ImageState, ImageStatus
from cairn.services.image.status import existing, set_status, wrong_status
from cairn.services.image.steps.add import RecordImageInput
from cairn.services.image.steps.expunge import BeginExpungeInput

SCHEMES = ("http", "https", "file")


class ImageAnswer(Struct, frozen=True, kw_only=True):
    """Which image it is."""

    image_uuid: str


ADD = Workflow(
    name="image.add",
    parameters=RecordImageInput,
    answer=ImageAnswer,
    doc="Fetches an image onto backup storages.",
)
EXPUNGE = Workflow(
    name="image.expunge",
    parameters=BeginExpungeInput,
    answer=Nothing,
    doc="Removes a deleted image, or some of its copies, for good.",
)


def queue_of(image: str) -> str:
    """The queue in which an image is added and expunged."""
    return f"image:{image}"


class ImageService:
    """Answers the messages about images."""

    def __init__(self, bus: Bus, jobs: Jobs, flows: Callable[[], FlowEngine], tags: Tags, events: Events) -> None:
        self._jobs = jobs
        self._flows = flows
        self._tags = tags
        self._events = events
        bus.register(AddImage, self.add)
        bus.register(UpdateImage, self.update)
        bus.register(ChangeImageState, self.change_state)
        bus.register(DeleteImage, self.delete)
        bus.register(RecoverImage, self.recover)
        bus.register(ExpungeImage, self.expunge)

    async def add(self, message: AddImage) -> Reference:
        """Add an image."""
        check_url(message.url)
        self._tags.check("Image", message.system_tags)
        assert message.resource_uuid is not None, "the gateway chooses the new image's uuid"
        parameters = RecordImageInput(
            image_uuid=message.resource_uuid,
            name=message.name,
            description=message.description,
            account_uuid=current().actor or "",
            url=message.url,
            media_type=message.media_type,
            image_format=checked_format(message.format),
            platform=message.platform,
            architecture=message.architecture,
            guest_os_type=message.guest_os_type,
            is_system=message.system,
            virtio=message.virtio,
            backup_storage_uuids=list(message.backup_storage_uuids),
            system_tags=list(message.system_tags),
            user_tags=list(message.user_tags),
        )
        answer = await self._flows().run(ADD, parameters, queue=queue_of(parameters.image_uuid))
        return Reference(uuid=answer.image_uuid)

    async def update(self, message: UpdateImage) -> Reference:
        """Change what is said of it."""
        given = {
            "name": message.name,
            "description": message.description,
            "guest_os_type": message.guest_os_type,
            "media_type": message.media_type,
            "system": message.system,
            "platform": message.platform,
            "architecture": message.architecture,
            "virtio": message.virtio,
        }
        changed = {name: value for name, value in given.items() if value is not None}

        def fn(tx: Tx) -> Reference:
            image = existing(tx, message.uuid)
            if message.format not in (None, image.format):
                raise CairnError(
                    "image.format-fixed",
                    f"format: the image {image.name} is {image.format.value}, because its file is. Add the other file "
                    "as an image of its own.",
                    kind=ErrorKind.CONFLICT,
                    fields={"format": f"found {message.format}; {image.format.value} would fit"},
                )
            tx.update(Image, image.uuid, last_op_date=tx.now, **changed)
            return Reference(uuid=image.uuid)

        return await self._jobs.commit(fn)

    async def change_state(self, message: ChangeImageState) -> Reference:
        """Enable or disable."""
        enabled = message.state_event is ImageStateEvent.ENABLE
        state = ImageState.ENABLED if enabled else ImageState.DISABLED

        def fn(tx: Tx) -> Reference:
            image = existing(tx, message.uuid)
            tx.update(Image, image.uuid, state=state, last_op_date=tx.now)
            return Reference(uuid=image.uuid)

        return await self._jobs.commit(fn)

    async def delete(self, message: DeleteImage) -> None:
        """Delete it, or some copies; one that is gone is success."""

        def fn(tx: Tx) -> None:
            image = tx.get(Image, message.uuid)
            if image is None:
                return
            if image.status is ImageStatus.DOWNLOADING:
                raise wrong_status(
                    image, f"The image {image.name} is being fetched. Cancel that job, or wait until it has ended."
                )
            _mark(tx, image, message.backup_storage_uuids, ImageStatus.READY, ImageStatus.DELETED)
            if not tx.count(ImageBackupStorageRef, image_uuid=image.uuid, status=ImageStatus.READY):
                set_status(tx, self._events, image, ImageStatus.DELETED)

        await self._jobs.commit(fn)

    async def recover(self, message: RecoverImage) -> Reference:
        """Bring it, or some copies, back."""

        def fn(tx: Tx) -> Reference:
            image = existing(tx, message.image_uuid, "imageUuid")
            _mark(tx, image, message.backup_storage_uuids, ImageStatus.DELETED, ImageStatus.READY)
            if not tx.count(ImageBackupStorageRef, image_uuid=image.uuid, status=ImageStatus.READY):
                raise CairnError(
                    "image.no-copy",
                    f"The image {image.name} has no copy left that could be recovered. Add it again.",
                    kind=ErrorKind.CONFLICT,
                )
            set_status(tx, self._events, image, ImageStatus.READY)
            return Reference(uuid=image.uuid)

        return await self._jobs.commit(fn)

    async def expunge(self, message: ExpungeImage) -> None:
        """Remove it, or some copies, for good; one that is gone is success."""

        def gone(tx: Tx) -> Nothing | None:
            return None if tx.get(Image, message.image_uuid) else Nothing()

        storages = message.backup_storage_uuids
        parameters = BeginExpungeInput(
            image_uuid=message.image_uuid, backup_storage_uuids=None if storages is None else list(storages)
        )
        await self._flows().run(EXPUNGE, parameters, queue=queue_of(message.image_uuid), unless=gone)


def _mark(tx: Tx, image: Image, storages: list[str] | None, before: ImageStatus, after: ImageStatus) -> None:
    """Copies that are `before` become `after`, on some backup storages or (None) all; never those given up."""
    where: dict[str, object] = {"image_uuid": image.uuid, "status": before, "given_up": False}
    if storages is not None:
        where["backup_storage_uuid"] = list(storages)
    tx.update_where(ImageBackupStorageRef, where, status=after, last_op_date=tx.now)


def check_url(url: str) -> None:
    """Refuse what no backup storage fetches (``image.wrong-url``)."""
    fits = "http://…, https://… or file:///… (a file on the backup storage itself) would fit"
    try:
        parts = urlsplit(url)
    except ValueError:
        raise invalid("image.wrong-url", "url", url, fits) from None
    where = parts.path if parts.scheme == "file" else parts.hostname
    if parts.scheme not in SCHEMES or not where or not url.isprintable() or " " in url:
        raise invalid("image.wrong-url", "url", url, fits)


def checked_format(text: str) -> ImageFormat:
    """The format, whatever its case (``image.wrong-format``)."""
    try:
        return ImageFormat(text.lower())
    except ValueError:
        fits = " or ".join(member.value for member in ImageFormat)
        raise invalid("image.wrong-format", "format", text, f"{fits} would fit", "Convert it by qemu-img.") from None
