"""A small cloud's records, with every feature that a record can have."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, ClassVar, NewType

from msgspec import Struct

from cairn.kernel.query import TagTables
from cairn.kernel.store import (
    Doc,
    Hidden,
    Index,
    Key,
    Nested,
    Owner,
    Record,
    References,
    Schema,
    SubType,
    TableMeta,
    Text,
    Unique,
    Unit,
    Uuids,
    Via,
    Visible,
    Wire,
)

ZoneId = NewType("ZoneId", str)
HostId = NewType("HostId", str)
VmId = NewType("VmId", str)
START = datetime(2026, 1, 1, tzinfo=UTC)


class ZoneState(StrEnum):
    ENABLED = "Enabled"
    DISABLED = "Disabled"


class Limits(Struct, frozen=True, rename="camel"):
    max_hosts: int = 0
    racks: list[str] = []


class Zone(Record, frozen=True, kw_only=True):
    """A data center."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="zone", entity="Zone", visible=Visible.PUBLIC, unique_together=(("name", "state"),), remembered=True
    )

    uuid: Annotated[ZoneId, Key()]
    name: Annotated[str, Text(255), Index(), Doc("what people call it")]
    description: Annotated[str | None, Text(2048)] = None
    state: ZoneState = ZoneState.ENABLED
    limits: Limits = Limits()
    secret: Annotated[str | None, Hidden()] = None
    load: float = 0.0
    open: bool = True
    photo: bytes | None = None
    create_date: datetime = START


class Host(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(
        table="host",
        entity="Host",
        visible=Visible.PUBLIC,
        nested={"vms": Nested(entity="VmInstance", by="host_uuid", order_by="name")},
    )

    uuid: Annotated[HostId, Key()]
    name: Annotated[str, Index()]
    hypervisor_type: str
    zone_uuid: Annotated[ZoneId, References(Zone, join="zone", back="hosts")]
    memory: Annotated[int, Unit("bytes"), Doc("in all")] = 0


class KvmHost(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(
        table="kvm_host",
        entity="KVMHost",
        visible=Visible.PUBLIC,
        extends=SubType(parent=Host, column="hypervisor_type", value="KVM"),
    )

    uuid: Annotated[HostId, Key()]
    username: str
    gateway_uuid: Annotated[
        HostId | None, References("host", join="gateway", back="gatewayOf", on_delete="set-null")
    ] = None


class Storage(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(
        table="storage",
        entity="Storage",
        visible=Visible.PUBLIC,
        nested={"attachedHostUuids": Uuids(link="storage_host", own="storage_uuid", other="host_uuid")},
        via={"host": Via(link="storage_host", own="storage_uuid", other="host_uuid", target="Host")},
    )

    uuid: Annotated[str, Key()]
    url: Annotated[str, Wire("theURL"), Text(None, exact=True)]


class StorageHost(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="storage_host", indexes=(("host_uuid", "storage_uuid"),))

    uuid: Annotated[str, Key()]
    storage_uuid: Annotated[str, References("storage", on_delete="cascade")]
    host_uuid: Annotated[str, References("host", on_delete="cascade")]


class VmInstance(Record, frozen=True, kw_only=True):
    """A machine that is none."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="vm_instance", entity="VmInstance", nested={"vmNics": "VmNic.vm_uuid", "volumes": "Volume.vm_uuid"}
    )

    uuid: Annotated[VmId, Key()]
    name: Annotated[str, Index()]
    account_uuid: Annotated[str, Owner(), Index()]
    state: Annotated[ZoneState, Index()] = ZoneState.ENABLED
    cpu_num: int = 1
    host_uuid: Annotated[HostId | None, References(Host, join="host", back="vmInstances")] = None
    root_volume_uuid: Annotated[
        str | None, References("volume", join="rootVolume", back="rootOf", on_delete="set-null"), Unique()
    ] = None
    create_date: Annotated[datetime, Index()] = START


class L3(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="l3_network", entity="L3Network", visible=Visible.PUBLIC)

    uuid: Annotated[str, Key()]
    name: Annotated[str, Index()]


class VmNic(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="vm_nic", entity="VmNic", owned_by="vm_uuid")

    uuid: Annotated[str, Key()]
    vm_uuid: Annotated[VmId, References(VmInstance, join="vm", back="vmNics", on_delete="cascade")]
    l3_network_uuid: Annotated[str, References("l3_network", join="l3Network", back="vmNics")]
    ip: Annotated[str | None, Index()] = None


class Volume(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="volume", entity="Volume")

    uuid: Annotated[str, Key()]
    name: str
    account_uuid: Annotated[str, Owner()]
    size: Annotated[int, Unit("bytes")] = 0
    vm_uuid: Annotated[VmId | None, References("vm_instance", join="vm", back="volumes", on_delete="set-null")] = None


class SystemTag(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="system_tag")

    uuid: Annotated[str, Key()]
    resource_uuid: Annotated[str, Index()]
    tag: Annotated[str, Text(4096), Index()]


class UserTag(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="user_tag")

    uuid: Annotated[str, Key()]
    resource_uuid: Annotated[str, Index()]
    tag: Annotated[str, Text(4096), Index()]


class Share(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="share")

    uuid: Annotated[str, Key()]
    resource_uuid: Annotated[str, Index()]
    account_uuid: Annotated[str | None, Index()] = None
    to_public: bool = False


class Entry(Record, frozen=True, kw_only=True):
    """A log whose numbers only go up."""

    meta: ClassVar[TableMeta] = TableMeta(table="entry")

    number: Annotated[int, Key(auto=True)] = 0
    text: str


RECORDS: list[type[Record]] = [
    Zone, Host, KvmHost, Storage, StorageHost, VmInstance, L3, VmNic, Volume, SystemTag, UserTag, Share, Entry,
]  # fmt: skip
TAGS = TagTables()


def schema() -> Schema:
    return Schema(RECORDS)


def zone(number: int = 1, **more: object) -> Zone:
    return Zone(**{"uuid": f"z{number}", "name": f"zone {number}", **more})  # type: ignore[arg-type]
