"""The table of zones."""

from __future__ import annotations

from typing import Annotated, ClassVar

from cairn.kernel.resource import EnabledState
from cairn.kernel.store.record import Key, Named, TableMeta, Visible
from cairn.services.ids import ZoneId


class Zone(Named, frozen=True, kw_only=True):
    """A data center: machines in one zone reach each other; nothing spans two zones."""

    meta: ClassVar[TableMeta] = TableMeta(table="zone", entity="Zone", visible=Visible.PUBLIC, remembered=True)

    uuid: Annotated[ZoneId, Key()]
    state: EnabledState = EnabledState.ENABLED
    type: str = "zstack"
    is_default: bool = False
