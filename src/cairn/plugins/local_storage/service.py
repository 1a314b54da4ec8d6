"""The local storage service: adds local storage to the cloud."""

from __future__ import annotations

from cairn.kernel.api import Reference
from cairn.kernel.bus.handlers import handles
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.jobs import Jobs
from cairn.kernel.resource import create, existing
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.plugins.local_storage.messages import AddLocalPrimaryStorage, checked_path
from cairn.plugins.local_storage.model import TYPE
from cairn.services.primary_storage.model import PrimaryStorage
from cairn.services.zone.model import Zone


class LocalStorageService:
    """Answers the messages about local storage."""

    def __init__(self, jobs: Jobs, tags: Tags) -> None:
        self._jobs = jobs
        self._tags = tags

    @handles(AddLocalPrimaryStorage)
    async def add(self, message: AddLocalPrimaryStorage) -> Reference:
        """Write the storage down; hosts are prepared when it is attached to their cluster."""
        path = checked_path(message.url)

        def fn(tx: Tx) -> Reference:
            existing(tx, Zone, message.zone_uuid, "zoneUuid", lock=True)  # storage comes to it one after the other
            same = tx.find(PrimaryStorage, zone_uuid=message.zone_uuid, mount_path=path)
            if same:
                raise CairnError(
                    "local-storage.path-taken",
                    f"url: {path} is the primary storage {same[0].name} of this zone already. Choose another folder.",
                    kind=ErrorKind.CONFLICT,
                    fields={"url": f"found {path!r}; a folder of its own would fit"},
                )
            return create(tx, self._tags, PrimaryStorage, message, type=TYPE, mount_path=path)

        return await self._jobs.commit(fn)
