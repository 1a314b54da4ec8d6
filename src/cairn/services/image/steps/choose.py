"""The image that a new VM is made from. Every new VM passes here: three reads, each by a key."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct
from sqlalchemy import bindparam, select

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.step import TransactionStep
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.resource import EnabledState, existing, taken
from cairn.kernel.store.record import table_of
from cairn.kernel.store.remembered import Remembered
from cairn.kernel.store.store import Tx
from cairn.services.backup_storage.extensions import BackupStorageDriver
from cairn.services.backup_storage.model import BackupStorage
from cairn.services.ids import BackupStorageId
from cairn.services.image.messages import ApiCreateFromImage, ImageSpec, MediaType
from cairn.services.image.model import Image, ImageBackupStorageRef, ImageStatus

_ref = table_of(ImageBackupStorageRef)
_storage = table_of(BackupStorage)
_COPIES = (
    select(_storage.c.uuid, _storage.c.type, _ref.c.install_path, _storage.c.name, _storage.c.state, _storage.c.status)
    .select_from(_ref.join(_storage, _storage.c.uuid == _ref.c.backup_storage_uuid))
    .where(_ref.c.image_uuid == bindparam("image"), _ref.c.status == ImageStatus.READY.value)
)
_USABLE = (EnabledState.ENABLED.value, MachineStatus.CONNECTED.value)


class ChooseImageInput(Struct, frozen=True, kw_only=True):
    """The call that names the image."""

    asked: ApiCreateFromImage


class ChooseImageOutput(Struct, frozen=True, kw_only=True):
    """The image, with all that later steps need of it."""

    image: ImageSpec


class ChooseImage(TransactionStep[ChooseImageInput, ChooseImageOutput]):
    """Check that VMs can be made from the image, and find where hosts fetch it."""

    name = "image.choose"
    title = "looking the image up"
    nothing_to_undo: ClassVar[str | None] = "it only reads"

    def __init__(self, extensions: Extensions) -> None:
        self._extensions = extensions
        self._usable = Remembered(self._look, (Image, ImageBackupStorageRef, BackupStorage))

    def do(self, tx: Tx, given: ChooseImageInput) -> ChooseImageOutput:
        """Refuse an image that is not usable now; the answer is remembered until one of its rows changes."""
        return self._usable.get(tx, given.asked.image_uuid)

    def _look(self, tx: Tx, image_uuid: str) -> ChooseImageOutput:
        image = existing(tx, Image, image_uuid, "imageUuid")
        _check(image)
        copies = [tuple(map(str, row)) for row in tx.rows(_COPIES, {"image": image.uuid})]
        for uuid, kind, path, _, *condition in copies:
            if tuple(condition) == _USABLE:
                storage = BackupStorageId(uuid)
                url = self._extensions.named(BackupStorageDriver, kind).image_url(tx, storage, path)
                return ChooseImageOutput(image=_spec(image, storage, url))
        raise _no_backup_storage(image, [f"{name} is {state} and {status}" for *_, name, state, status in copies])


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


def _no_backup_storage(image: Image, reasons: list[str]) -> CairnError:
    found = "; ".join(reasons) or "it has no copy"
    return CairnError(
        "image.no-backup-storage",
        f"imageUuid: hosts cannot fetch the image {image.name} from any backup storage: {found}. Reconnect or enable one "
        "of them, or choose another image.",
        kind=ErrorKind.UNAVAILABLE,
    )


def _spec(image: Image, storage: BackupStorageId, url: str) -> ImageSpec:
    return taken(
        ImageSpec,
        image,
        format=image.format.value,
        platform=image.platform.value,
        architecture=image.architecture.value,
        size_bytes=image.size,
        actual_size_bytes=image.actual_size,
        backup_storage_uuid=storage,
        url=url,
    )
