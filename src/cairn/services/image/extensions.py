"""The extension point of images: caches of them."""

from __future__ import annotations

from typing import Protocol

from cairn.services.ids import ImageId


class ImageCaches(Protocol):
    """Keeps copies of images close to the disks that are based on them."""

    async def drop(self, image_uuid: ImageId) -> None:
        """The image goes: remove its caches as soon as no disk is based on them and their host can be reached.

        Does not wait for hosts. Safe to repeat. An error is only logged: who keeps caches has to find those of images that are
        gone by itself, after a restart too.
        """
