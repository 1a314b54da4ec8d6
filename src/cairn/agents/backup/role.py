"""The backup server's role: puts together the parts that answer its commands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from cairn.agents.backup.images import BackupImages
from cairn.agents.clock import Clock
from cairn.agents.config import AgentConfig
from cairn.agents.disks import Disks
from cairn.agents.downloads import Downloader
from cairn.agents.facts import Facts, HostState, Identity
from cairn.agents.files import Folders, PreparedFolders
from cairn.agents.programs import ProgramRunner
from cairn.agents.protocol.vm import PowerState
from cairn.agents.protocol.wire import Space
from cairn.agents.state import Record
from cairn.agents.storage import Storage


class BackupRole:
    """See `AgentRole`. Images are kept below ``storage_path``, and below what `InitStorage` prepares."""

    def __init__(self, *, data: Path, config: AgentConfig, runner: ProgramRunner, clock: Clock) -> None:
        self._state = HostState(Record(data / "host.json", Identity))
        self._folders = Folders(Record(data / "storage.json", PreparedFolders), data)
        self._disks = Disks(self._folders, clock)
        self._storage_path = config.storage_path
        # Images come from the internet, or an intranet: their servers have certificates of other authorities.
        downloader = Downloader(None, [Path(folder) for folder in config.file_url_dirs])
        self._images = BackupImages(self._folders, downloader, runner)
        self._areas = (Facts(self._state, runner), Storage(self._folders), self._images)

    @property
    def areas(self) -> Sequence[object]:
        """The objects that answer a backup server's commands."""
        return self._areas

    @property
    def host(self) -> str | None:
        """The host's uuid, as `Connect` told it."""
        return self._state.host

    async def vms(self) -> dict[str, PowerState]:
        """Always empty: no VMs run on a backup server."""
        return {}

    async def spaces(self) -> dict[str, Space]:
        """Measure the folders that images are kept in."""
        return await self._disks.spaces()

    def add_routes(self, app: web.Application) -> None:
        """Serve image files, which hosts download from here."""
        app.router.add_get("/v1/images/{path:.+}", self._images.hand_out)

    async def start(self) -> None:
        """Prepare the configured folder, so that images can be taken in at once."""
        self._folders.prepare(self._storage_path)

    async def stop(self) -> None:
        """Nothing runs in the background."""
