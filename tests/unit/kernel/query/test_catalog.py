from __future__ import annotations

from typing import Annotated, ClassVar

import pytest
from tests.unit.kernel import sample
from tests.unit.kernel.sample import RECORDS, Host, KvmHost, VmInstance, Zone

from cairn.kernel.error import CairnError
from cairn.kernel.query.catalog import Catalog, TagTables
from cairn.kernel.store import Key, Nested, Owner, Record, References, Schema, SubType, TableMeta, Uuids, Via, Visible


class TakenJoin(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="taken_join", entity="TakenJoin", visible=Visible.PUBLIC)
    uuid: Annotated[str, Key()]
    vm_uuid: Annotated[str, References("vm_instance", back="vmNics")]


class JoinLikeField(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="join_like_field", entity="JoinLikeField", visible=Visible.PUBLIC)
    uuid: Annotated[str, Key()]
    zone_uuid: Annotated[str, References("zone", join="zoneUuid")]


class ShownNameless(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="nameless", entity="ShownNameless", visible=Visible.PUBLIC)
    uuid: Annotated[str, Key()]
    zone_uuid: Annotated[str, References("zone", shown=True)]


class ShownSubtype(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(
        table="shown_sub", entity="ShownSubtype", extends=SubType(parent=Host, column="hypervisor_type", value="Sub")
    )
    uuid: Annotated[str, Key()]
    zone_uuid: Annotated[str, References("zone", back="subs", shown=True)]


class NoChild(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(
        table="no_child", entity="NoChild", visible=Visible.PUBLIC, nested={"x": "Nobody.uuid"}
    )
    uuid: Annotated[str, Key()]


class NoField(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(
        table="no_field", entity="NoField", visible=Visible.PUBLIC, nested={"x": Nested(entity="Zone", by="colour")}
    )
    uuid: Annotated[str, Key()]


class OfSubtype(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(
        table="of_subtype", entity="OfSubtype", visible=Visible.PUBLIC, nested={"x": "KVMHost.gateway_uuid"}
    )
    uuid: Annotated[str, Key()]


class NoLink(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(
        table="no_link",
        entity="NoLink",
        visible=Visible.PUBLIC,
        nested={"x": Uuids(link="storage_host", own="a", other="b")},
    )
    uuid: Annotated[str, Key()]


class NoTarget(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(
        table="no_target",
        entity="NoTarget",
        visible=Visible.PUBLIC,
        via={"x": Via(link="storage_host", own="storage_uuid", other="host_uuid", target="Nobody")},
    )
    uuid: Annotated[str, Key()]


class NotOwned(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="not_owned", entity="NotOwned", owned_by="uuid")
    uuid: Annotated[str, Key()]


class OwnOwner(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="own_owner", entity="OwnOwner", owned_by="other_uuid")
    uuid: Annotated[str, Key()]
    other_uuid: Annotated[str, References("own_owner")]


class Russian(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(
        table="russian", entity="Russian", visible=Visible.PUBLIC, nested={"dolls": "Russian.doll_uuid"}
    )
    uuid: Annotated[str, Key()]
    doll_uuid: Annotated[str | None, References("russian")] = None


class SubSub(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(
        table="sub_sub",
        entity="SubSub",
        visible=Visible.PUBLIC,
        extends=SubType(parent=KvmHost, column="username", value="x"),
    )
    uuid: Annotated[sample.HostId, Key()]


class SubOfNoColumn(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(
        table="sub_nc", entity="SubNC", visible=Visible.PUBLIC, extends=SubType(parent=Host, column="colour", value="x")
    )
    uuid: Annotated[sample.HostId, Key()]


class SecondKvm(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(
        table="second_kvm",
        entity="SecondKvm",
        visible=Visible.PUBLIC,
        extends=SubType(parent=Host, column="hypervisor_type", value="KVM"),
    )
    uuid: Annotated[sample.HostId, Key()]


class Unsaid(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="unsaid", entity="Unsaid")
    uuid: Annotated[str, Key()]


class SaidTwice(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="said_twice", entity="SaidTwice", visible=Visible.PUBLIC)
    uuid: Annotated[str, Key()]
    account_uuid: Annotated[str, Owner()]


class UnsaidSubtype(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(
        table="unsaid_sub", entity="UnsaidSub", extends=SubType(parent=Host, column="hypervisor_type", value="ESX")
    )
    uuid: Annotated[sample.HostId, Key()]


class OwnedSubtype(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(
        table="owned_sub", entity="OwnedSub", extends=SubType(parent=Host, column="hypervisor_type", value="ESX")
    )
    uuid: Annotated[sample.HostId, Key()]
    account_uuid: Annotated[str, Owner()]


class OfNobody(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="of_nobody", entity="OfNobody", owned_by="host_uuid")
    uuid: Annotated[str, Key()]
    host_uuid: Annotated[sample.HostId, References("host")]


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (Unsaid, "Unsaid: it says 0 times who may see a Unsaid; say it once: a field marked Owner"),
        (SaidTwice, "SaidTwice: it says 2 times who may see"),
        (UnsaidSubtype, "UnsaidSubtype: it says 0 times who may see"),
        (OwnedSubtype, "OwnedSubtype: its rows are those of Host"),
        (OfNobody, "OfNobody: owned_by leads to Host, which no account owns"),
        (TakenJoin, "TakenJoin: the name 'vmNics' is taken in VmInstance"),
        (JoinLikeField, "JoinLikeField: the name 'zoneUuid' is taken in JoinLikeField"),
        (ShownNameless, "ShownNameless: 'zone_uuid' is to be shown, and has no name there"),
        (ShownSubtype, "ShownSubtype: 'subs' cannot be shown in Zone: it is a subtype's"),
        (NoChild, "NoChild: it names entity 'Nobody'"),
        (NoField, "NoField: nested 'x': Zone has no field 'colour'"),
        (OfSubtype, "OfSubtype: nested 'x': KVMHost is a subtype; name its parent"),
        (NoLink, "NoLink: it wants a table 'storage_host' with columns 'a' and 'b'"),
        (NoTarget, "NoTarget: it names entity 'Nobody'"),
        (NotOwned, "NotOwned: owned_by names 'uuid', which is not a field with References"),
        (OwnOwner, "OwnOwner: owned_by goes in a circle"),
        (Russian, "Russian: its inventory would contain itself: Russian > Russian"),
        (SubSub, "SubSub: it extends KvmHost, which is not an entity"),
        (SubOfNoColumn, "SubOfNoColumn: its type column 'colour' is not a field of its parent"),
        (SecondKvm, "SecondKvm: another subtype of Host has hypervisor_type='KVM' already"),
    ],
)
def test_what_cannot_be_queried_as_declared_is_refused_with_the_class(record: type[Record], sentence: str) -> None:
    with pytest.raises(CairnError, match=sentence) as caught:
        Catalog(Schema([*RECORDS, record]), sample.TAGS)
    assert caught.value.code == "store.bad-record"


def test_tags_without_their_tables_are_refused() -> None:
    with pytest.raises(CairnError, match="tags want a table 'system_tag'"):
        Catalog(Schema([Zone]), TagTables())


def test_joins_come_from_references_both_ways_lists_and_links() -> None:
    catalog = Catalog(sample.schema(), sample.TAGS)
    assert {name: join.target for name, join in catalog.entities["VmInstance"].joins.items()} == {
        "host": "Host",
        "rootVolume": "Volume",
        "vmNics": "VmNic",
        "volumes": "Volume",
    }
    assert catalog.entities["Storage"].joins["host"].many
    assert not catalog.entities["VmInstance"].joins["host"].many
    assert not catalog.entities["Volume"].joins["rootOf"].many  # the reference is unique


def test_a_plugin_that_is_left_out_leaves_its_joins_out() -> None:
    without = [record for record in RECORDS if record.meta.table not in ("storage", "storage_host", "kvm_host")]
    host = Catalog(Schema(without), sample.TAGS).entities["Host"]
    assert host.subtypes == {}
    assert "gatewayOf" not in host.joins


def test_hidden_fields_are_not_there() -> None:
    catalog = Catalog(Schema([Zone]), None)
    assert "secret" not in catalog.entities["Zone"].columns
    assert "__systemTag__" not in catalog.entities["Zone"].columns


def test_entities_are_found_in_any_case() -> None:
    catalog = Catalog(sample.schema(), None)
    assert catalog.find("kvmhost") is catalog.entities["KVMHost"]
    assert catalog.find("nobody") is None
    assert catalog.find("VMINSTANCE") is catalog.entities[str(VmInstance.meta.entity)]
