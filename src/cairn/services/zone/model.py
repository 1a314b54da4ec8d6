"""Zones."""

from __future__ import annotations

from typing import ClassVar

from cairn.kernel.resource import EnabledState
from cairn.kernel.store.record import Named, TableMeta, Visible


class Zone(Named, frozen=True, kw_only=True):
    """A data center: what is in one zone can reach each other; nothing spans two."""

    meta: ClassVar[TableMeta] = TableMeta(table="zone", entity="Zone", visible=Visible.PUBLIC)

    state: EnabledState = EnabledState.ENABLED
    type: str = "zstack"
    is_default: bool = False
