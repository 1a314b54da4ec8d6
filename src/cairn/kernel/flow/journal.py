"""The journal: one row per workflow that is under way; it goes when nothing is left to do or to undo."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, NamedTuple

import msgspec
from msgspec import Struct
from sqlalchemy import select

from cairn.kernel.error import ErrorRecord
from cairn.kernel.ids import JobId, NodeId
from cairn.kernel.ownership import Claim, Owned
from cairn.kernel.store.record import Doc, Index, Sealed, TableMeta, Visible, table_of
from cairn.kernel.store.store import Tx


class RunState(StrEnum):
    """The direction that a run takes."""

    RUNNING = "Running"  #: going forward
    UNDOING = "Undoing"  #: a step failed; the steps before it are being undone
    UNDO_FAILED = "UndoFailed"  #: all that could be undone is; the rest is tried again from time to time


class FlowRun(Owned, frozen=True, kw_only=True):
    """A workflow under way, or one whose undo could not be finished yet."""

    meta: ClassVar[TableMeta] = TableMeta(table="flow_run", entity="WorkflowRun", visible=Visible.ADMIN)

    job_uuid: Annotated[str | None, Index(), Doc("the job that it works for")] = None
    parent_uuid: Annotated[str | None, Doc("the run whose step started this one")] = None
    workflow: Annotated[str, Doc("its name")]
    queue_key: Annotated[str | None, Index(), Doc("the resource queue that it holds a place in")] = None
    actor: Annotated[str | None, Doc("the account that asked")] = None
    concludes: Annotated[bool, Doc("whether its end is the job's end")] = False
    state: RunState = RunState.RUNNING
    position: Annotated[int, Doc("how many steps are done")] = 0
    steps: Annotated[list[str], Doc("the effective list when it began")]
    undo_left: Annotated[
        list[int],
        Doc("the steps that are still to be undone, by index, next first; if it fails, while it goes forward"),
    ] = []
    undo_errors: Annotated[dict[str, str], Doc("step -> why its undo failed last")] = {}
    data: Annotated[bytes, Sealed()]
    error: Annotated[ErrorRecord | None, Doc("why it is being undone")] = None
    create_date: datetime
    last_op_date: datetime


class RunHead(NamedTuple):
    """What tells whose a run is and which place it holds."""

    uuid: str
    node_uuid: NodeId
    epoch: int
    job_uuid: JobId | None
    parent_uuid: str | None
    workflow: str
    queue_key: str | None
    actor: str | None
    state: RunState

    @property
    def claim(self) -> Claim:
        """Whose it is."""
        return Claim(self.uuid, self.node_uuid, self.epoch)


_run = table_of(FlowRun)
_HEADS = select(*(_run.c[name] for name in RunHead._fields)).order_by(_run.c.create_date)


def heads(tx: Tx) -> list[RunHead]:
    """All runs of the database, in the order in which they were begun."""
    return msgspec.convert(tx.rows(_HEADS), list[RunHead])


def encode_data(data: Mapping[str, object]) -> bytes:
    """Parameters and outputs, by field name, as they are kept."""
    return msgspec.json.encode(data)


def decode_data(raw: bytes, types: Mapping[str, object]) -> dict[str, object]:
    """Read what `encode_data` wrote, each field in its declared type.

    Fields that no step declares now are kept as they are: the undo of a step whose plugin comes back may need them.
    """
    parts = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    return {name: _typed(part, types[name]) if name in types else part.copy() for name, part in parts.items()}


def _typed(part: msgspec.Raw, kind: object) -> object:
    value: object = msgspec.json.decode(part, type=kind)
    return value


def fill(record: type[Struct], data: Mapping[str, object]) -> Struct:
    """A `record` whose fields are taken from `data` by name; absent ones keep their defaults."""
    names = _names(record)
    return record(**{name: data[name] for name in names if name in data})


_FIELDS: dict[type[Struct], tuple[str, ...]] = {}


def _names(record: type[Struct]) -> tuple[str, ...]:
    names = _FIELDS.get(record)
    if names is None:
        names = _FIELDS[record] = tuple(field.name for field in msgspec.structs.fields(record))
    return names
