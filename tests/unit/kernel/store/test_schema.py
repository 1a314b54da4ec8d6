from __future__ import annotations

from typing import Annotated, ClassVar

import pytest
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.schema import CreateTable
from tests.unit.kernel import sample
from tests.unit.kernel.sample import Host, VmInstance, Volume, Zone

from cairn.kernel.error import CairnError
from cairn.kernel.store import Key, Record, References, Schema, TableMeta
from cairn.kernel.store.record import info


class Lost(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="lost")
    uuid: Annotated[str, Key()]
    other_uuid: Annotated[str, References("nowhere")]


class Twin(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="zone")
    uuid: Annotated[str, Key()]


class Namesake(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="namesake", entity="Zone")
    uuid: Annotated[str, Key()]


class BadIndex(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="bad_index", indexes=(("uuid", "colour"),))
    uuid: Annotated[str, Key()]


class WrongType(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="wrong_type")
    uuid: Annotated[str, Key()]
    zone: Annotated[int, References("zone")]


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (Lost, "Lost: it refers to table 'nowhere'"),
        (Twin, "Twin: table 'zone' is taken by Zone"),
        (Namesake, "Namesake: entity 'Zone' is taken by Zone"),
        (BadIndex, "BadIndex: an index or unique_together names 'colour'"),
        (WrongType, "WrongType: field zone refers to Zone.uuid but has another type"),
    ],
)
def test_records_that_do_not_fit_together_are_refused_with_the_class(record: type[Record], sentence: str) -> None:
    with pytest.raises(CairnError, match=sentence):
        Schema([Zone, record])


def test_references_in_a_circle_and_by_table_name_are_resolved() -> None:
    schema = sample.schema()
    keys = {key.target_fullname for key in schema.metadata.tables["vm_instance"].foreign_keys}
    assert keys == {"host.uuid", "volume.uuid"}
    users = {(there.record, field.name) for there, field in schema.referring_to(info(VmInstance))}
    assert (Volume, "vm_uuid") in users


def test_a_subtype_shares_its_parents_key() -> None:
    (key, *_) = sample.schema().metadata.tables["kvm_host"].c.uuid.foreign_keys
    assert (key.target_fullname, key.ondelete) == ("host.uuid", "CASCADE")


def test_references_are_indexed() -> None:
    indexes = {index.name for index in sample.schema().metadata.tables["vm_instance"].indexes}
    assert "ix_vm_instance_host_uuid" in indexes


def test_tables_are_strict_on_sqlite_and_compare_names_without_case() -> None:
    text = str(CreateTable(sample.schema().metadata.tables["zone"]).compile(dialect=sqlite.dialect()))
    assert text.rstrip().endswith("STRICT")
    assert 'name TEXT COLLATE "NOCASE" NOT NULL' in text
    assert "uuid TEXT NOT NULL" in text


def test_tables_can_be_made_on_mysql_too() -> None:
    tables = sample.schema().metadata.tables
    text = str(CreateTable(tables["zone"]).compile(dialect=mysql.dialect()))
    assert "name VARCHAR(255) COLLATE utf8mb4_general_ci NOT NULL" in text
    assert "uuid VARCHAR(64) COLLATE ascii_bin NOT NULL" in text
    assert "create_date BIGINT NOT NULL" in text
    assert "TEXT(4294967295)" in str(CreateTable(tables["storage"]).compile(dialect=mysql.dialect()))


def test_naming_a_record_twice_is_naming_it_once() -> None:
    assert Schema([Zone, Host, Zone]).records == (Zone, Host)
