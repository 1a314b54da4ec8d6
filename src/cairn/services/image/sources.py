"""The backup storages that hosts can fetch an image from now, by zone."""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import bindparam, select

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.resource import EnabledState
from cairn.kernel.store.record import table_of
from cairn.kernel.store.remembered import Remembered
from cairn.kernel.store.store import Tx
from cairn.services.backup_storage.extensions import BackupStorageDriver
from cairn.services.backup_storage.model import BackupStorage, BackupStorageZoneRef
from cairn.services.ids import BackupStorageId, ImageId, ZoneId
from cairn.services.image.model import Image, ImageBackupStorageRef, ImageStatus
from cairn.services.image.provided import ImageSources

_ref = table_of(ImageBackupStorageRef)
_storage = table_of(BackupStorage)
_COPIES = (
    select(_storage.c.uuid, _storage.c.type, _ref.c.install_path, _storage.c.name, _storage.c.state, _storage.c.status)
    .select_from(_ref.join(_storage, _storage.c.uuid == _ref.c.backup_storage_uuid))
    .where(_ref.c.image_uuid == bindparam("image"), _ref.c.status == ImageStatus.READY.value)
)
_USABLE = (EnabledState.ENABLED.value, MachineStatus.CONNECTED.value)


class _Source(Struct, frozen=True):
    """A copy of an image on a backup storage."""

    name: str  #: of the backup storage
    trouble: str | None  #: why it cannot be fetched now; None: it can
    url: str
    zones: frozenset[ZoneId]  #: that the backup storage is attached to


class _Known(Struct, frozen=True):
    """All that is asked of an image."""

    name: str
    architecture: str | None  #: None: there is no such image
    sources: list[_Source]
    zones: frozenset[ZoneId]  #: from which it can be fetched now


class UsableSources(ImageSources):
    """Looks copies of images up, and remembers them until one of their rows changes."""

    def __init__(self, extensions: Extensions) -> None:
        self._extensions = extensions
        self._known = Remembered(self._look, (Image, ImageBackupStorageRef, BackupStorage, BackupStorageZoneRef))

    def check(self, tx: Tx, image: ImageId) -> None:
        """Refuse an image that hosts can fetch nowhere now (``image.no-backup-storage``)."""
        known = self._known.get(tx, image)
        if all(source.trouble for source in known.sources):
            raise _not_to_be_had(
                known, "from any backup storage", [f"{one.name} {one.trouble}" for one in known.sources]
            )

    def zones(self, tx: Tx, image: ImageId) -> frozenset[ZoneId]:
        """Those that a usable backup storage with the image is attached to."""
        return self._known.get(tx, image).zones

    def url(self, tx: Tx, image: ImageId, zone: ZoneId) -> str:
        """That of the first usable copy (``image.no-backup-storage``, with each one's reason)."""
        known = self._known.get(tx, image)
        reasons: list[str] = []
        for source in known.sources:
            trouble = source.trouble or (None if zone in source.zones else "is not attached to the zone")
            if trouble is None:
                return source.url
            reasons.append(f"{source.name} {trouble}")
        raise _not_to_be_had(known, "from any backup storage of their zone", reasons)

    def architecture(self, tx: Tx, image: ImageId) -> str | None:
        """What the image was added with."""
        return self._known.get(tx, image).architecture

    def _look(self, tx: Tx, uuid: ImageId) -> _Known:
        image = tx.get(Image, uuid)
        sources = (
            [] if image is None else [self._source(tx, *map(str, row)) for row in tx.rows(_COPIES, {"image": uuid})]
        )
        return _Known(
            name=image.name if image is not None else uuid,
            architecture=image.architecture.value if image is not None else None,
            sources=sources,
            zones=frozenset().union(*(source.zones for source in sources if source.trouble is None)),
        )

    def _source(self, tx: Tx, uuid: str, kind: str, path: str, name: str, state: str, status: str) -> _Source:
        storage = BackupStorageId(uuid)
        usable = (state, status) == _USABLE
        return _Source(
            name=name,
            trouble=None if usable else f"is {state} and {status}",
            url=self._extensions.named(BackupStorageDriver, kind).image_url(tx, storage, path) if usable else "",
            zones=frozenset(ref.zone_uuid for ref in tx.find(BackupStorageZoneRef, backup_storage_uuid=storage)),
        )


def _not_to_be_had(image: _Known, where: str, reasons: list[str]) -> CairnError:
    found = "; ".join(reasons) or "it has no copy"
    return CairnError(
        "image.no-backup-storage",
        f"imageUuid: hosts cannot fetch the image {image.name} {where}: {found}. Reconnect, enable or attach one "
        "of them, or choose another image.",
        kind=ErrorKind.UNAVAILABLE,
    )
