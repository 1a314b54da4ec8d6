"""The image service for other services: where hosts fetch images, and what images need of hosts."""

from __future__ import annotations

from typing import Protocol

from cairn.kernel.store.store import Tx
from cairn.services.ids import ImageId, ZoneId


class ImageSources(Protocol):
    """Where images are fetched. Called inside transactions; every new VM asks, so answers are remembered."""

    def zones(self, tx: Tx, image: ImageId) -> frozenset[ZoneId]:
        """The zones whose hosts can fetch the image now: those that a usable backup storage with it is attached to."""

    def url(self, tx: Tx, image: ImageId, zone: ZoneId) -> str:
        """Where hosts of a zone fetch the image (``image.no-backup-storage``)."""

    def architecture(self, tx: Tx, image: ImageId) -> str | None:
        """The processors that the image runs on; None: the image is gone."""
