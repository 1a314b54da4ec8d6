"""The table of the flat network's DHCP servers."""

from __future__ import annotations

from typing import Annotated, ClassVar

from cairn.kernel.store.record import Doc, Key, Record, References, TableMeta, Visible
from cairn.services.ids import L3NetworkId


class FlatDhcpServer(Record, frozen=True, kw_only=True):
    """The address of an L3 network's DHCP servers, the same on every host."""

    meta: ClassVar[TableMeta] = TableMeta(table="flat_dhcp_server", entity="FlatDhcpServer", visible=Visible.ADMIN)

    l3_network_uuid: Annotated[L3NetworkId, Key(), References("l3_network", join="l3Network", on_delete="cascade")]
    ip: Annotated[str, Doc("the servers' own address")]
    used_ip_uuid: Annotated[str, References("used_ip", on_delete="cascade")]
