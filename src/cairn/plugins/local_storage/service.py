"""Adding local storage."""

from __future__ import annotations

from pathlib import PurePosixPath

from cairn.kernel.api import Reference
from cairn.kernel.bus.bus import Bus
from cairn.kernel.error import CairnError, ErrorKind, invalid
from cairn.kernel.jobs import Jobs
from cairn.kernel.resource import write
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.plugins.local_storage.driver import TYPE
from cairn.plugins.local_storage.messages import AddLocalPrimaryStorage
from cairn.services.primary_storage.model import PrimaryStorage

_SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys", "/usr")


class LocalStorageService:
    """Answers the messages about local storage."""

    def __init__(self, bus: Bus, jobs: Jobs, tags: Tags) -> None:
        self._jobs = jobs
        self._tags = tags
        bus.register(AddLocalPrimaryStorage, self.add)

    async def add(self, message: AddLocalPrimaryStorage) -> Reference:
        """Write it down; hosts are prepared when it is attached to their cluster."""
        path = checked_path(message.url)
        self._tags.check("PrimaryStorage", message.system_tags)
        uuid = message.resource_uuid
        assert uuid is not None, "the gateway chooses the new storage's uuid"

        def fn(tx: Tx) -> Reference:
            same = tx.find(PrimaryStorage, zone_uuid=message.zone_uuid, mount_path=path)
            if same:
                raise CairnError(
                    "local-storage.path-taken",
                    f"url: {path} is the primary storage {same[0].name} of this zone already. Choose another folder.",
                    kind=ErrorKind.CONFLICT,
                    fields={"url": f"found {path!r}; a folder of its own would fit"},
                )
            write(
                tx,
                PrimaryStorage(
                    uuid=uuid,
                    name=message.name,
                    description=message.description,
                    zone_uuid=message.zone_uuid,
                    url=message.url,
                    type=TYPE,
                    mount_path=path,
                    create_date=tx.now,
                    last_op_date=tx.now,
                ),
            )
            self._tags.add(tx, "PrimaryStorage", uuid, system=message.system_tags, user=message.user_tags)
            return Reference(uuid=uuid)

        return await self._jobs.commit(fn)


def checked_path(url: str) -> str:
    """The folder, without a slash at the end; system folders and ``..`` are refused (``local-storage.bad-path``)."""
    path = PurePosixPath(url)
    fits = "an absolute path outside of the system's folders would fit, as /var/lib/cairn-storage"
    if ".." in path.parts or len(path.parts) < 2 or any(_under(path, folder) for folder in _SYSTEM):
        raise invalid("local-storage.bad-path", "url", url, fits)
    return str(path)


def _under(path: PurePosixPath, folder: str) -> bool:
    return path == PurePosixPath(folder) or PurePosixPath(folder) in path.parents
