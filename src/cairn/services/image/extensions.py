"""The extension point of images: caches of them."""

from __future__ import annotations

from typing import Protocol

from cairn.services.ids import ImageId


class ImageCaches(Protocol):
    """Keeps copies of images close to the disks that are based on them."""

    async def drop(self, image_uuid: ImageId) -> None:
        """The image is gone: remove its caches that no disk is based on. Safe to repeat."""
