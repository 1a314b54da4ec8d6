from __future__ import annotations

from typing import Annotated, ClassVar

import pytest
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.mysql.base import MySQLDialect
from sqlalchemy.schema import CreateIndex, CreateTable
from tests.unit.kernel import sample
from tests.unit.kernel.sample import Host, VmInstance, Volume, Zone

from cairn.kernel.error import CairnError
from cairn.kernel.store import Index, Key, Record, References, Schema, TableMeta, Text
from cairn.kernel.store.names import short_name
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


def test_tables_can_be_made_on_mariadb_too() -> None:
    tables = sample.schema().metadata.tables
    text = str(CreateTable(tables["zone"]).compile(dialect=MySQLDialect(is_mariadb=True)))
    assert "name VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_nopad_as_ci NOT NULL" in text
    assert "uuid VARCHAR(64) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL" in text
    assert "create_date BIGINT NOT NULL" in text


def test_unique_keys_tell_their_columns_by_the_name_that_a_database_has_for_them() -> None:
    class Long(Record, frozen=True, kw_only=True):
        meta: ClassVar[TableMeta] = TableMeta(
            table="a_table_with_a_name_that_is_rather_long", unique_together=(("a_column_of_it", "another_column"),)
        )
        uuid: Annotated[str, Key()]
        a_column_of_it: str
        another_column: str

    keys = Schema([Long]).unique_keys
    table = "a_table_with_a_name_that_is_rather_long"
    assert set(keys.values()) == {f"{table}.a_column_of_it, {table}.another_column"}
    whole = f"uq_{table}_a_column_of_it_another_column"
    assert set(keys) == {whole, short_name(whole)}
    assert len(short_name(whole)) == 64


def test_an_index_of_a_long_text_has_its_beginning_only_where_indexes_are_short() -> None:
    class Noted(Record, frozen=True, kw_only=True):
        meta: ClassVar[TableMeta] = TableMeta(table="noted")
        uuid: Annotated[str, Key()]
        note: Annotated[str, Text(4096), Index()]

    (index,) = Schema([Noted]).metadata.tables["noted"].indexes
    assert str(CreateIndex(index).compile(dialect=MySQLDialect())).endswith("(note(255))")
    assert str(CreateIndex(index).compile(dialect=sqlite.dialect())).endswith("(note)")


def test_naming_a_record_twice_is_naming_it_once() -> None:
    assert Schema([Zone, Host, Zone]).records == (Zone, Host)
