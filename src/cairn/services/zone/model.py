"""Zones."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from cairn.kernel.store.record import Index, Key, Record, TableMeta, Text


class ZoneState(StrEnum):
    """What people want of a zone."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"  #: no new VMs; those that run stay


class Zone(Record, frozen=True, kw_only=True):
    """A data center: what is in one zone can reach each other; nothing spans two."""

    meta: ClassVar[TableMeta] = TableMeta(table="zone", entity="Zone")

    uuid: Annotated[str, Key()]
    name: Annotated[str, Index()]
    description: Annotated[str | None, Text(2048)] = None
    state: ZoneState = ZoneState.ENABLED
    type: str = "zstack"
    is_default: bool = False
    create_date: datetime
    last_op_date: datetime
