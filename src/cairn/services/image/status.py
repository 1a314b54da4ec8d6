"""The status of images: changing it, and announcing the change."""

from __future__ import annotations

from cairn.kernel.event import Events
from cairn.kernel.store.store import Tx
from cairn.services.image.messages import ImageStatusChanged
from cairn.services.image.model import Image, ImageStatus


def set_status(tx: Tx, events: Events, image: Image, status: ImageStatus) -> None:
    """Change an image's status and announce it; an image that has this status already is left alone."""
    if image.status is status:
        return
    tx.update(Image, image.uuid, status=status, last_op_date=tx.now)
    tell(tx, events, image, status)


def tell(tx: Tx, events: Events, image: Image, status: ImageStatus | None) -> None:
    """Announce an image's new status; None: the image is gone."""
    event = ImageStatusChanged(image=image.uuid, name=image.name, status=status.value if status else None)
    events.emit(tx, event, resource=image.uuid, account=image.account_uuid)
