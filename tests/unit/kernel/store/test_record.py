from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar

import pytest
from tests.unit.kernel.sample import Entry, Host, Storage, VmInstance, Zone

from cairn.kernel.error import CairnError
from cairn.kernel.store import Key, Owner, Record, References, TableMeta, Text, table_of
from cairn.kernel.store.record import Continued, Kind, info


class NoMeta(Record, frozen=True, kw_only=True):
    uuid: Annotated[str, Key()]


class NoKey(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="no_key")
    uuid: str


class TwoOwners(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="two_owners")
    uuid: Annotated[str, Key()]
    one: Annotated[str, Owner()]
    two: Annotated[str, Owner()]


class TextTime(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="text_time")
    uuid: Annotated[str, Key()]
    when: Annotated[datetime, Text(3)]


class NullKey(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="null_key")
    uuid: Annotated[str | None, Key()]


class TextCounter(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="text_counter")
    uuid: Annotated[str, Key(auto=True)]


class BadDelete(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="bad_delete")
    uuid: Annotated[str, Key()]
    zone_uuid: Annotated[str, References("zone", on_delete="explode")]


class GoesOnInClear(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="goes_on_in_clear")
    uuid: Annotated[str, Key()]
    text: Annotated[str, Continued("rest")]
    rest: str


class NullableNot(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="nullable_not")
    uuid: Annotated[str, Key()]
    zone_uuid: Annotated[str, References("zone", on_delete="set-null")]


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (NoMeta, r"NoMeta: it needs `meta"),
        (NoKey, r"NoKey: exactly one field is marked Key\(\); found none"),
        (TwoOwners, r"TwoOwners: at most one field is marked Owner\(\); found one, two"),
        (TextTime, r"TextTime: field when is marked Text\(\)"),
        (NullKey, r"NullKey: field uuid is the key"),
        (TextCounter, r"TextCounter: field uuid is the key"),
        (BadDelete, r"BadDelete: field zone_uuid: on_delete is 'explode'; restrict, cascade or set-null fit"),
        (NullableNot, r"NullableNot: field zone_uuid: on_delete is set-null, so its type must allow None"),
        (GoesOnInClear, r"GoesOnInClear: field text is marked Continued\(\): text fits, that goes on in sealed text"),
    ],
)
def test_a_wrong_declaration_is_refused_with_a_sentence_that_names_the_class(
    record: type[Record], sentence: str
) -> None:
    with pytest.raises(CairnError, match=sentence) as caught:
        info(record)
    assert caught.value.code == "store.bad-record"


def test_kinds_follow_from_types() -> None:
    kinds = {field.name: field.kind for field in info(Zone).fields}
    assert kinds == {
        "uuid": Kind.ID,
        "name": Kind.TEXT,
        "description": Kind.TEXT,
        "state": Kind.ENUM,
        "limits": Kind.JSON,
        "secret": Kind.TEXT,
        "load": Kind.FLOAT,
        "open": Kind.BOOL,
        "photo": Kind.BYTES,
        "create_date": Kind.TIME,
    }


def test_a_name_on_the_wire_is_camel_case_unless_said_otherwise() -> None:
    assert [field.wire for field in info(VmInstance).fields][:6] == [
        "uuid", "name", "accountUuid", "state", "cpuNum", "hostUuid",
    ]  # fmt: skip
    assert info(Storage).by_name["url"].wire == "theURL"


def test_markers_are_found_through_none_and_annotations() -> None:
    host = info(VmInstance).by_name["host_uuid"]
    assert host.nullable
    assert host.index
    assert host.reference is not None
    assert info(VmInstance).owner is info(VmInstance).by_name["account_uuid"]
    assert info(Host).by_name["memory"].unit == "bytes"
    assert info(Zone).by_name["state"].choices == ("Enabled", "Disabled")
    assert info(Zone).by_name["secret"].hidden
    assert info(Entry).key.key == Key(auto=True)


def test_the_table_for_statements_is_made_once() -> None:
    assert table_of(Zone) is table_of(Zone)
    assert [column.name for column in table_of(Entry).c] == ["number", "text"]
