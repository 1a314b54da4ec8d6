"""The images of a backup server: downloaded from a URL, served to hosts."""

from __future__ import annotations

from pathlib import Path

import msgspec
from aiohttp import web

from cairn.agents.blocking import in_thread
from cairn.agents.commands import handles
from cairn.agents.downloads import Downloader, settle
from cairn.agents.errors import AgentError
from cairn.agents.files import Folders, temporary_of
from cairn.agents.images import inspect
from cairn.agents.programs import ProgramRunner
from cairn.agents.protocol import codes
from cairn.agents.protocol.storage import MOST_VIRTUAL_BYTES, DownloadImage, ImageInfo
from cairn.agents.reach import Reach


class BackupImages:
    """Answers `DownloadImage`, and ``GET /v1/images/{relative path}``. Each file is made by one at a time."""

    def __init__(self, folders: Folders, downloader: Downloader, runner: ProgramRunner) -> None:
        self._folders = folders
        self._downloader = downloader
        self._runner = runner

    @handles(DownloadImage)
    async def download(self, command: DownloadImage) -> ImageInfo:
        """Fetch the image, inspect it, and rename it into place. A file that is there is replaced."""
        path = await in_thread(self._folders.confine, command.path)
        async with self._folders.locks(str(path)):
            part = temporary_of(path)
            try:
                reach = Reach(command.denied_networks, command.allowed_networks)
                sha256 = await self._downloader.fetch(command.url, part, command.max_bytes, reach)
                info = await inspect(self._runner, part, command.format, MOST_VIRTUAL_BYTES, iso=command.iso)
                await settle(part, path)
            except BaseException:
                await in_thread(self._clean_up, part)
                raise
        return msgspec.structs.replace(info, path=command.path, sha256=sha256)

    async def hand_out(self, request: web.Request) -> web.StreamResponse:
        """Stream an image; the path is relative to a prepared folder."""
        relative = request.match_info["path"]
        for folder in self._folders.paths:
            try:
                path = await in_thread(self._folders.confine, f"{folder}/{relative}")
            except AgentError:
                continue
            if not path.name.startswith(".") and await in_thread(path.is_file):
                return web.FileResponse(path, chunk_size=1 << 20, headers={"Content-Type": "application/octet-stream"})
        missing = AgentError(codes.MISSING_FILE, f"There is no image {relative!r} here. It may have been deleted.")
        return web.Response(status=404, body=msgspec.json.encode(missing.failure()), content_type="application/json")

    def _clean_up(self, part: Path) -> None:
        """Remove what a failed download left, and the folder that was made for it."""
        self._folders.delete(str(part))
