"""The row of a job, and what can be told from a row or a call alone."""

from __future__ import annotations

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from cairn.kernel.api import ApiCommand, secret_fields
from cairn.kernel.bus.message import message_type, tag_of
from cairn.kernel.error import CairnError, ErrorKind, ErrorRecord
from cairn.kernel.ids import JobId
from cairn.kernel.ownership import Owned
from cairn.kernel.queue import queue_key
from cairn.kernel.store.record import Doc, Hidden, Index, Owner, Sealed, TableMeta
from cairn.kernel.store.store import Tx


class JobState(StrEnum):
    """The state of a job."""

    WAITING = "Waiting"
    RUNNING = "Running"  #: as `Jobs.look` shows it; a row says Waiting until the job has ended
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


OPEN = (JobState.WAITING, JobState.RUNNING)


class Job(Owned, frozen=True, kw_only=True):
    """An API call that changes something."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="job", entity="Job", path="/jobs", columns=("uuid", "api", "state", "createDate", "finishDate")
    )

    ring_key: Annotated[str, Hidden()] = ""  #: what the ring finds its node by
    api: Annotated[str, Index(), Doc("the API's name")]
    tag: Annotated[str, Hidden()]
    request: Annotated[bytes, Sealed()]
    digest: Annotated[str, Hidden()]
    account_uuid: Annotated[str | None, Owner(), Index(), Doc("who asked")] = None
    state: Annotated[JobState, Index()] = JobState.WAITING
    answer: Annotated[bytes | None, Sealed()] = None
    error: Annotated[ErrorRecord | None, Doc("why it failed")] = None
    timeout_seconds: Annotated[float, Doc("how long it may take")] = 1800.0
    cancel_requested: bool = False
    create_date: datetime
    finish_date: Annotated[datetime | None, Index()] = None


def is_open(tx: Tx, job: JobId) -> bool:
    """Whether a job is there, and has not ended."""
    row = tx.get(Job, job)
    return row is not None and row.state in OPEN


def decode(row: Job) -> ApiCommand[object]:
    """The call of a job. Raises what reading it raises."""
    kind = message_type(row.tag)
    message: ApiCommand[object] = msgspec.json.decode(row.request, type=kind)
    return message


def read(row: Job) -> tuple[ApiCommand[object] | None, CairnError | None]:
    """The call of a job, or why there is none any more."""
    try:
        return decode(row), None
    except (CairnError, msgspec.MsgspecError) as error:
        return None, CairnError(
            "job.unreadable",
            f"The call {row.api} was accepted by another version of cairn, or with a plugin that is not there any more, and "
            "cannot be read now. What was done of it is undone. Make the call again once its plugin is back.",
            kind=ErrorKind.CONFLICT,
            operator=str(error),
        )


def key_of(message: ApiCommand[object], job: str) -> str:
    """What the ring finds the node of a call by: the resource that it is about, or else its job."""
    about: object = getattr(message, message.route) if message.route is not None else None
    return about if isinstance(about, str) else job


def turn_of(message: ApiCommand[object]) -> str | None:
    """The queue in which a call that is one transaction takes its turn; None: it need not wait for anything."""
    if message.route is None or not message.takes_turn:
        return None
    return queue_key(tag_of(message).partition(".")[0], getattr(message, message.route))


def digest_of(message: ApiCommand[object], actor: str | None) -> str:
    """A digest that tells a repetition of a call from another call. Secrets are left out, as it outlives the job."""
    secret = secret_fields(type(message))
    told: object = message
    if secret:
        fields = msgspec.to_builtins(message)
        told = {name: value for name, value in fields.items() if name not in secret}
    known = msgspec.json.encode([told, actor], order="sorted")
    return hashlib.blake2b(known, digest_size=16).hexdigest()
