"""Expunges images that were deleted long ago, so that their files do not stay for ever."""

from __future__ import annotations

from datetime import timedelta

import structlog

from cairn.kernel.bus.bus import Bus
from cairn.kernel.config import GlobalConfig
from cairn.kernel.error import CairnError
from cairn.kernel.ids import NodeId
from cairn.kernel.ring import Ring
from cairn.kernel.store.store import Store, Tx
from cairn.services.ids import ImageId
from cairn.services.image import config
from cairn.services.image.messages import ExpungeImage
from cairn.services.image.model import Image, ImageStatus

_log = structlog.get_logger("cairn.image")
ROUND_SECONDS = 3600.0
_MOST = 1000  #: in one round


class ImageSweeper:
    """Looks for images whose time is over. Each is expunged by the call that users have."""

    def __init__(self, store: Store, bus: Bus, settings: GlobalConfig, ring: Ring, node: NodeId) -> None:
        self._store = store
        self._bus = bus
        self._settings = settings
        self._ring = ring
        self._node = node

    async def sweep(self) -> None:
        """Expunge the images whose time is over, one after the other; one that cannot be is tried again in the next round."""
        for image in await self._store.read(self._due):
            try:
                await self._bus.call(ExpungeImage(image_uuid=image))
            except CairnError as error:
                _log.warning("image.not-expunged", image=image, error=str(error))

    def _due(self, tx: Tx) -> list[ImageId]:
        seconds = self._settings.get(config.EXPUNGE_AFTER)
        if not seconds:
            return []
        deleted = tx.find(Image, status=ImageStatus.DELETED, order_by="last_op_date", limit=_MOST)
        until = tx.now - timedelta(seconds=seconds)
        return [row.uuid for row in deleted if row.last_op_date <= until and self._ring.owns(self._node, row.uuid)]
