"""Turns a command's answer into the one that the API shows."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import Struct

from cairn.kernel.api import ApiCommand, Reference
from cairn.kernel.query.engine import QueryEngine
from cairn.kernel.store.store import Tx


def renderer(query: QueryEngine) -> Callable[[Tx, ApiCommand[object], object], bytes]:
    """The function that `Jobs` makes result bodies with, inside the transaction that ends the job.

    A `Reference` becomes ``{"inventory": {...}}`` of the message's entity, or ``{}`` if what it names is gone; None
    becomes ``{}``; any other struct is shown as it is.
    """

    def render(tx: Tx, message: ApiCommand[object], answer: object) -> bytes:
        if isinstance(answer, Reference) and message.entity is not None:
            inventory = query.inventory(tx, message.entity, answer.uuid)
            return b"{}" if inventory is None else msgspec.json.encode({"inventory": inventory})
        return body_of(answer)

    return render


def body_of(answer: object) -> bytes:
    """An answer as JSON; None is ``{}``."""
    return msgspec.json.encode(answer) if isinstance(answer, Struct) else b"{}"
