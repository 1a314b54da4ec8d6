"""Cached images and volumes of local primary storage."""

from __future__ import annotations

import re
from pathlib import Path

from cairn.agents.blocking import in_thread
from cairn.agents.commands import handles
from cairn.agents.downloads import Downloader, settle
from cairn.agents.errors import AgentError, no_space
from cairn.agents.files import Folders, free_bytes, temporary_of
from cairn.agents.images import Measured, inspect, measure
from cairn.agents.programs import ProgramRunner
from cairn.agents.protocol import codes
from cairn.agents.protocol.storage import CacheImage, CreateVolume, ImageInfo, VolumeInfo

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_SECTOR_BYTES = 512
#: An image file may be bigger than its disk, by its own tables.
_METADATA_BYTES = 16 << 20
#: The size of an empty qcow2 file, with some room.
_LEAST_FREE_BYTES = 1 << 20


class Volumes:
    """Answers `CacheImage` and `CreateVolume`. Each file is made by one at a time."""

    def __init__(self, folders: Folders, downloader: Downloader, runner: ProgramRunner) -> None:
        self._folders = folders
        self._downloader = downloader
        self._runner = runner

    @handles(CacheImage)
    async def cache(self, command: CacheImage) -> ImageInfo:
        """Download the image unless it is there. One that is there was checked when it came, and is only measured again."""
        if not _SHA256.match(command.sha256):
            raise AgentError(
                codes.BAD_REQUEST, f"sha256: found {command.sha256!r}; 64 lower-case hex digits would fit."
            )
        path = await in_thread(self._folders.confine, command.path)
        async with self._folders.locks(str(path)):
            if not await in_thread(path.exists):
                await self._download(command, path)
            found = await in_thread(measure, path, command.format)
        return ImageInfo(
            path=command.path,
            format=command.format,
            virtual_size_bytes=found.virtual_size_bytes,
            actual_size_bytes=found.actual_size_bytes,
            sha256=command.sha256,
        )

    @handles(CreateVolume)
    async def create(self, command: CreateVolume) -> VolumeInfo:
        """Make the volume's file. One that is there already must be what the command asks for."""
        path = await in_thread(self._folders.confine, command.path)
        async with self._folders.locks(str(path)):
            backing = await self._backing(command)
            size = max(command.size_bytes, backing.virtual_size_bytes if backing is not None else 0)
            size = (size + _SECTOR_BYTES - 1) // _SECTOR_BYTES * _SECTOR_BYTES
            if size == 0:
                raise AgentError(codes.BAD_REQUEST, "sizeBytes: found 0; a volume without an image needs a size.")
            if not await in_thread(path.exists):
                await self._create(command, path, size)
            found = await in_thread(measure, path, "qcow2")
            _check_same(command, found, size)
        return VolumeInfo(
            path=command.path,
            virtual_size_bytes=found.virtual_size_bytes,
            actual_size_bytes=found.actual_size_bytes,
        )

    async def _download(self, command: CacheImage, path: Path) -> None:
        part = temporary_of(path)
        try:
            await self._fetch(command, part)
            await settle(part, path)
        except BaseException:
            await in_thread(self._folders.delete, str(part))
            raise

    async def _fetch(self, command: CacheImage, part: Path) -> None:
        """Download to `part`, and check it."""
        limit = command.max_virtual_size_bytes
        sha256 = await self._downloader.fetch(command.url, part, limit + limit // 8 + _METADATA_BYTES)
        if sha256 != command.sha256:
            raise AgentError(
                codes.CHECKSUM,
                f"{command.url} has SHA-256 {sha256}, {command.sha256} was announced. The image on the backup server "
                "was changed or damaged: delete it and add it again.",
            )
        await inspect(self._runner, part, command.format, command.max_virtual_size_bytes)

    async def _backing(self, command: CreateVolume) -> Measured | None:
        if command.backing_path is None:
            return None
        backing = await in_thread(self._folders.confine, command.backing_path)
        if not await in_thread(backing.exists):
            raise AgentError(
                codes.MISSING_FILE, f"The cached image {command.backing_path} is not on this host. Cache it first."
            )
        return await in_thread(measure, backing, command.backing_format or "qcow2")

    async def _create(self, command: CreateVolume, path: Path, size: int) -> None:
        free = await in_thread(free_bytes, path.parent)
        if free < _LEAST_FREE_BYTES:
            raise no_space(path.parent, _LEAST_FREE_BYTES, free)
        await in_thread(path.parent.mkdir, parents=True, exist_ok=True)
        part = temporary_of(path)
        # -u: a stranger's image is named, and not opened by a program that is not in the sandbox.
        over = (
            ["-u", "-b", command.backing_path, "-F", command.backing_format or "qcow2"] if command.backing_path else []
        )
        try:
            await self._runner.run(["qemu-img", "create", "-q", "-f", "qcow2", *over, str(part), str(size)])
            await settle(part, path)
        except BaseException as error:
            await in_thread(self._folders.delete, str(part))
            if isinstance(error, AgentError) and "No space left" in error.message:
                raise no_space(path.parent, None, await in_thread(free_bytes, path.parent)) from error
            raise


def _check_same(command: CreateVolume, found: Measured, size: int) -> None:
    """Refuse a file that was there already unless it is the volume that was asked for."""
    if found.backing_path != command.backing_path or found.virtual_size_bytes != size:
        raise AgentError(
            codes.EXISTS,
            f"{command.path} is there already, {found.virtual_size_bytes} bytes over {found.backing_path}; {size} bytes "
            f"over {command.backing_path} were asked for. Delete it first, or choose another path.",
        )
