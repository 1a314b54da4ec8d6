"""Adding an image: it is written down, fetched onto every backup storage at once, and Ready in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from msgspec import Struct

from cairn.agents.protocol import storage as agent
from cairn.agents.protocol.urls import shown_url, without_secrets
from cairn.kernel.config import GlobalConfig
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.event import Events
from cairn.kernel.flow.engine import report_progress
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.ids import IdSource
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.resource import EnabledState, enter, erase, existing, new
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.services.backup_storage.model import BackupStorage
from cairn.services.backup_storage.provided import BackupStorageAgents
from cairn.services.ids import BackupStorageId
from cairn.services.image import config
from cairn.services.image.copies import ImageCopy, ImageFiles, LeftCopy, copies_of, path_of
from cairn.services.image.messages import AddImage, MediaType, checked_format
from cairn.services.image.model import Image, ImageBackupStorageRef, ImageStatus
from cairn.services.image.status import set_status

_log = structlog.get_logger("cairn.image")


class RecordImageInput(Struct, frozen=True, kw_only=True):
    """The call, and the account that made it."""

    uuid: str
    account: str
    asked: AddImage


class RecordImageOutput(Struct, frozen=True, kw_only=True):
    """The files that the image will have, one on each backup storage."""

    image_copies: list[ImageCopy]


class RecordImage(TransactionStep[RecordImageInput, RecordImageOutput]):
    """Write the new image down, as Downloading."""

    name = "image.record"
    title = "writing the image down"

    def __init__(self, ids: IdSource, tags: Tags) -> None:
        self._ids = ids
        self._tags = tags

    def do(self, tx: Tx, given: RecordImageInput) -> RecordImageOutput:
        """Refuse backup storages that cannot take the image now; one that is named twice counts once."""
        asked = given.asked
        storages = [_usable(tx, uuid) for uuid in dict.fromkeys(asked.backup_storage_uuids)]
        url, image_format = shown_url(asked.url), checked_format(asked.format)
        image = new(tx, Image, asked, account_uuid=given.account, url=url, format=image_format)
        enter(tx, self._tags, asked, image)
        refs = [
            ImageBackupStorageRef(
                uuid=copy,
                image_uuid=image.uuid,
                backup_storage_uuid=storage.uuid,
                install_path=path_of(storage.url, image.uuid, copy, image_format),
                create_date=tx.now,
                last_op_date=tx.now,
            )
            for storage in storages
            for copy in (self._ids.new(),)
        ]
        tx.insert_many(refs)
        return RecordImageOutput(image_copies=copies_of(tx, refs))

    def undo(self, tx: Tx, given: RecordImageInput, made: RecordImageOutput | None) -> None:
        """Erase the image; its copies' rows and its tags go with it."""
        erase(tx, Image, given.uuid)


class FetchImageInput(Struct, frozen=True, kw_only=True):
    """The call that says what to fetch, and the files to make of it."""

    asked: AddImage
    image_copies: list[ImageCopy]


class FetchedCopy(Struct, frozen=True, kw_only=True):
    """A file that was fetched."""

    backup_storage_uuid: BackupStorageId
    file: agent.ImageInfo


class FetchImageOutput(Struct, frozen=True, kw_only=True):
    """The copies that are there; at least one, and all have the same content."""

    fetched_copies: list[FetchedCopy]
    left_copies: list[LeftCopy]  #: files that are not wanted and could not be removed


class FetchImage(ActionStep[FetchImageInput, FetchImageOutput]):
    """Have every backup storage fetch the image, all at once; one that succeeds is enough."""

    name = "image.download"
    title = "fetching the image"

    def __init__(self, agents: BackupStorageAgents, settings: GlobalConfig, files: ImageFiles) -> None:
        self._agents = agents
        self._settings = settings
        self._files = files

    async def do(self, given: FetchImageInput) -> FetchImageOutput:
        """Fetch it everywhere, and keep the copies that have the same content as the first."""
        done = 0

        async def one(copy: ImageCopy) -> FetchedCopy | CairnError:
            nonlocal done
            result = await self._fetch(given, copy)
            done += 1
            count = len(given.image_copies)
            report_progress(f"{done} of {count} backup storages have ended", done / (count + 1))
            return result

        results = await asyncio.gather(*(one(copy) for copy in given.image_copies))
        fetched = [result for result in results if isinstance(result, FetchedCopy)]
        if not fetched:
            failed = [result for result in results if isinstance(result, CairnError)]
            raise not_fetched(given, failed)
        same = [copy for copy in fetched if copy.file.sha256 == fetched[0].file.sha256]
        left = await self._clean_up(given, {copy.backup_storage_uuid for copy in same})
        return FetchImageOutput(fetched_copies=same, left_copies=left)

    async def undo(self, given: FetchImageInput, made: FetchImageOutput | None) -> None:
        """Remove all that backup storages have of it, even of a download that broke off; those out of reach owe it."""
        await self._files.remove(given.image_copies)

    async def _fetch(self, given: FetchImageInput, copy: ImageCopy) -> FetchedCopy | CairnError:
        command = agent.DownloadImage(
            url=given.asked.url,
            path=copy.path,
            format=checked_format(given.asked.format).value,
            max_bytes=self._settings.get(config.MAX_SIZE),
            iso=given.asked.media_type is MediaType.ISO,
            denied_networks=config.networks(self._settings.get(config.DENIED)),
            allowed_networks=config.networks(self._settings.get(config.ALLOWED)),
        )
        seconds = float(self._settings.get(config.DOWNLOAD_TIMEOUT))
        try:
            file = await self._agents.call(copy.backup_storage_uuid, command, timeout_seconds=seconds)
        except CairnError as raised:
            error = _shown(raised, given.asked.url)
            _log.warning("image.not-fetched", backup_storage=copy.backup_storage_uuid, error=str(error))
            return error
        return FetchedCopy(backup_storage_uuid=copy.backup_storage_uuid, file=file)

    async def _clean_up(self, given: FetchImageInput, kept: set[BackupStorageId]) -> list[LeftCopy]:
        """Remove files of a failed download, and those that were fetched from a URL whose content changed meanwhile.

        What is left is not owed before it is certain that it is not wanted: this step may be done again, and fetch it.
        """
        useless = [copy for copy in given.image_copies if copy.backup_storage_uuid not in kept]
        return await self._files.remove_what_can_be(useless)


class FinishAddInput(Struct, frozen=True, kw_only=True):
    """The image, and the copies that are there."""

    uuid: str
    fetched_copies: list[FetchedCopy]
    left_copies: list[LeftCopy] = []


class FinishAdd(TransactionStep[FinishAddInput, Nothing]):
    """Make the image Ready: from here on VMs can be made from it."""

    name = "image.finish-add"
    title = "finishing"

    def __init__(self, events: Events, files: ImageFiles) -> None:
        self._events = events
        self._files = files

    def do(self, tx: Tx, given: FinishAddInput) -> Nothing:
        """Write sizes and check sum down; forget the backup storages that do not have it, which owe what they still have."""
        self._files.owe(tx, given.left_copies)
        image = existing(tx, Image, given.uuid, lock=True)
        fetched = {copy.backup_storage_uuid for copy in given.fetched_copies}
        ready = 0
        for ref in tx.find(ImageBackupStorageRef, image_uuid=image.uuid):
            if ref.backup_storage_uuid in fetched and not ref.given_up:
                there = {"uuid": ref.uuid, "given_up": False}
                ready += tx.update_where(ImageBackupStorageRef, there, status=ImageStatus.READY, last_op_date=tx.now)
            elif not ref.given_up:
                tx.delete_where(ImageBackupStorageRef, uuid=ref.uuid, given_up=False)
        if not ready:
            raise CairnError(
                "image.no-copy",
                f"The backup storages that fetched the image {image.name} were taken out of the cloud meanwhile. Add it "
                "to others.",
                kind=ErrorKind.CONFLICT,
            )
        file = given.fetched_copies[0].file
        tx.update(
            Image,
            image.uuid,
            size=file.virtual_size_bytes,
            actual_size=file.actual_size_bytes,
            sha256=file.sha256,
        )
        set_status(tx, self._events, image, ImageStatus.READY)
        return NOTHING

    def undo(self, tx: Tx, given: FinishAddInput, made: Nothing | None) -> None:
        """The image is not Ready after all; the steps before it remove it."""
        tx.update(Image, given.uuid, status=ImageStatus.DOWNLOADING)


def _usable(tx: Tx, uuid: str) -> BackupStorage:
    """The backup storage, if new images can be put there now."""
    storage = existing(
        tx, BackupStorage, uuid, "backupStorageUuids", lock=True
    )  # it is not closed before the image is there
    if storage.state is not EnabledState.ENABLED:
        raise CairnError(
            "backup-storage.disabled",
            f"backupStorageUuids: the backup storage {storage.name} is disabled and takes no new images. Enable it, or "
            "choose another.",
            kind=ErrorKind.CONFLICT,
            fields={"backupStorageUuids": f"found {uuid!r}; one that is Enabled would fit"},
        )
    if storage.status is not MachineStatus.CONNECTED:
        raise CairnError(
            "backup-storage.disconnected",
            f"backupStorageUuids: the backup storage {storage.name} is {storage.status.value}. Reconnect it, or "
            "choose another.",
            kind=ErrorKind.UNAVAILABLE,
            fields={"backupStorageUuids": f"found {uuid!r}; one that is Connected would fit"},
            operator=storage.status_reason,
        )
    return storage


def _shown(error: CairnError, url: str) -> CairnError:
    """An agent's error as everybody may read it: an agent of an older version repeats the URL with its secrets."""
    told = None if error.operator is None else without_secrets(error.operator, url)
    return CairnError(error.code, without_secrets(error.message, url), kind=error.kind, operator=told)


def not_fetched(given: FetchImageInput, errors: Sequence[CairnError]) -> CairnError:
    """No backup storage could fetch it; the first one's reason is the cause, and the details hold all of them."""
    names = [copy.backup_storage_name for copy in given.image_copies]
    where = f"backup storage {names[0]}" if len(names) == 1 else f"any of the backup storages {', '.join(names)}"
    return CairnError(
        "image.not-fetched",
        f"The image could not be fetched from {shown_url(given.asked.url)} onto {where}.",
        kind=errors[0].kind,
        details={"backupStorages": {name: error.message for name, error in zip(names, errors, strict=True)}},
        cause=errors[0],
        operator=" ".join(
            f"{name}: {error.operator or error.message}" for name, error in zip(names, errors, strict=True)
        ),
    )
