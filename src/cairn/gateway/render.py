"""Turns a command's answer into the one that the API shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import msgspec
from msgspec import Struct

from cairn.kernel.api import ApiCommand, Reference
from cairn.kernel.bus.message import message_type
from cairn.kernel.job import Job
from cairn.kernel.query.engine import QueryEngine
from cairn.kernel.query.inventory import Inventory
from cairn.kernel.query.plan import Scope
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


class _Answer(Struct, frozen=True):
    inventory: Inventory | None = None


def answer_of(query: QueryEngine, job: Job, scope: Scope) -> bytes:
    """The part of a job's result that a caller may see. Results are kept whole; accounts see what queries would show them."""
    body = job.answer or b"{}"
    if scope.owner is None:
        return body
    entity = cast("type[ApiCommand[object]]", message_type(job.tag)).entity
    shown = msgspec.json.decode(body, type=_Answer).inventory
    if entity is None or shown is None:
        return body
    return msgspec.json.encode(_Answer(query.narrowed(entity, shown)))


def body_of(answer: object) -> bytes:
    """An answer as JSON; None is ``{}``."""
    return msgspec.json.encode(answer) if isinstance(answer, Struct) else b"{}"
