"""The image that a new VM is made from. Every new VM passes here: what is looked up is remembered while nothing changes."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.step import TransactionStep
from cairn.kernel.resource import EnabledState, existing, taken
from cairn.kernel.store.remembered import Remembered
from cairn.kernel.store.store import Tx
from cairn.services.image.messages import ApiCreateFromImage, ImageSpec, MediaType
from cairn.services.image.model import Image, ImageStatus
from cairn.services.image.sources import UsableSources


class ChooseImageInput(Struct, frozen=True, kw_only=True):
    """The call that names the image."""

    asked: ApiCreateFromImage


class ChooseImageOutput(Struct, frozen=True, kw_only=True):
    """The image, with all that later steps need of it."""

    image: ImageSpec


class ChooseImage(TransactionStep[ChooseImageInput, ChooseImageOutput]):
    """Check that VMs can be made from the image, and that hosts can fetch it."""

    name = "image.choose"
    title = "looking the image up"
    nothing_to_undo: ClassVar[str | None] = "it only reads"

    def __init__(self, sources: UsableSources) -> None:
        self._sources = sources
        self._usable = Remembered(_look, (Image,))

    def do(self, tx: Tx, given: ChooseImageInput) -> ChooseImageOutput:
        """Refuse an image that is not usable now; the answer is remembered until one of its rows changes."""
        chosen = self._usable.get(tx, given.asked.image_uuid)
        self._sources.check(tx, chosen.image.uuid)
        return chosen


def _look(tx: Tx, image_uuid: str) -> ChooseImageOutput:
    image = existing(tx, Image, image_uuid, "imageUuid")
    _check(image)
    return ChooseImageOutput(image=_spec(image))


def _check(image: Image) -> None:
    if image.status is not ImageStatus.READY:
        todo = (
            "Recover it, or choose another" if image.status is ImageStatus.DELETED else "Wait until its job has ended"
        )
        raise CairnError(
            "image.not-ready",
            f"imageUuid: the image {image.name} is {image.status.value}. {todo}.",
            kind=ErrorKind.CONFLICT,
            fields={"imageUuid": f"found an image that is {image.status.value}; one that is Ready would fit"},
        )
    if image.state is not EnabledState.ENABLED:
        raise CairnError(
            "image.disabled",
            f"imageUuid: the image {image.name} is disabled. Enable it, or choose another.",
            kind=ErrorKind.CONFLICT,
            fields={"imageUuid": "found an image that is Disabled; one that is Enabled would fit"},
        )
    if image.media_type is not MediaType.ROOT_VOLUME_TEMPLATE:
        raise CairnError(
            "image.wrong-media-type",
            f"imageUuid: the image {image.name} is of the media type {image.media_type.value}, and VMs are made from a "
            f"{MediaType.ROOT_VOLUME_TEMPLATE.value}. Choose another image.",
            fields={"imageUuid": f"found a {image.media_type.value}; a RootVolumeTemplate would fit"},
        )


def _spec(image: Image) -> ImageSpec:
    return taken(
        ImageSpec,
        image,
        format=image.format.value,
        platform=image.platform.value,
        architecture=image.architecture.value,
        size_bytes=image.size,
        actual_size_bytes=image.actual_size,
    )
