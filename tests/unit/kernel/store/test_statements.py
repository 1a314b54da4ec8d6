"""SQL texts: one for each shape of a call, whatever the values."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from sqlalchemy import bindparam, select
from sqlalchemy.dialects.mysql.base import MySQLDialect
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from tests.unit.kernel import sample

from cairn.kernel.error import CairnError
from cairn.kernel.store.record import info, table_of
from cairn.kernel.store.seal import Seals
from cairn.kernel.store.statements import MAX_IN_LIST, Statements, where_values

HOST = info(sample.Host)


@pytest.fixture
def statements() -> Statements:
    return Statements(SQLiteDialect_pysqlite(paramstyle="qmark"), Seals.ephemeral())


def find(statements: Statements, equal: Mapping[str, object], *, limited: bool = False) -> tuple[str, list[object]]:
    found = statements.find(sample.Host, equal, "name", True, limited)
    assert found is not None
    plan, values = found
    return plan.sql, list(values)


def test_a_text_depends_on_the_shape_of_a_call_and_never_on_values(statements: Statements) -> None:
    first, second = find(statements, {"name": "a"}), find(statements, {"name": "b"})
    assert first[0] is second[0]
    assert (first[1], second[1]) == (["a"], ["b"])
    assert "a" not in first[0].partition("WHERE")[2].replace("name", "")
    assert find(statements, {"name": "a"}, limited=True)[0].endswith("LIMIT ?")


def test_null_is_part_of_the_shape(statements: Statements) -> None:
    found = statements.find(sample.KvmHost, {"gateway_uuid": None}, None, False, False)
    assert found is not None
    assert "IS NULL" in found[0].sql
    assert found[1] == []


@pytest.mark.parametrize(("count", "padded"), [(1, 1), (2, 2), (3, 4), (5, 8), (8, 8)])
def test_lists_are_padded_so_that_there_are_few_shapes(count: int, padded: int) -> None:
    where = where_values(HOST, {"memory": list(range(count))})
    assert where is not None
    shape, values = where
    assert shape == (("memory", padded),)
    assert set(values) == set(range(count))
    assert len(values) == padded


def test_an_empty_list_matches_nothing_and_needs_no_statement(statements: Statements) -> None:
    impossible: dict[str, object] = {"name": "a", "memory": []}
    assert where_values(HOST, impossible) is None
    assert statements.find(sample.Host, impossible, None, False, False) is None
    assert statements.count(sample.Host, impossible) is None
    assert statements.delete(sample.Host, impossible) is None
    assert statements.update(sample.Host, impossible, {"memory": 1}) is None


def test_an_update_of_nothing_needs_no_statement(statements: Statements) -> None:
    assert statements.update(sample.Host, {"name": "a"}, {}) is None


def test_values_of_an_update_come_before_those_of_its_condition(statements: Statements) -> None:
    found = statements.update(sample.Host, {"uuid": "h1", "memory": 3}, {"name": "n", "memory": 4})
    assert found is not None
    sql, values = found
    assert values == ["n", 4, "h1", 3]
    assert sql.index("SET") < sql.index("WHERE")


def test_a_field_that_there_is_not_is_named_with_those_there_are(statements: Statements) -> None:
    with pytest.raises(CairnError, match=r"Host has no field 'nmae'; it has .*name") as caught:
        statements.find(sample.Host, {"nmae": None}, None, False, False)
    assert caught.value.code == "store.unknown-field"


def test_a_list_that_is_too_long_is_told() -> None:
    with pytest.raises(CairnError) as caught:
        where_values(HOST, {"memory": list(range(MAX_IN_LIST + 1))})
    assert caught.value.code == "store.too-many-values"


def test_records_become_rows_and_rows_become_records(statements: Statements) -> None:
    zone = sample.Zone(uuid=sample.ZoneId("z"), name="a", limits=sample.Limits(max_hosts=3), open=False)
    plan = statements.insert(sample.Zone)
    assert plan is statements.insert(sample.Zone)
    columns = plan.sql.partition("(")[2].partition(")")[0].split(", ")
    row = dict(zip(columns, plan.values(zone), strict=True))
    ordered = tuple(row[field.name] for field in info(sample.Zone).fields)
    assert statements.get(sample.Zone).make(ordered) == zone


def test_a_statement_that_somebody_built_is_compiled_once(statements: Statements) -> None:
    table = table_of(sample.Zone)
    built = select(table.c.uuid, table.c.open, table.c.create_date).where(table.c.name == bindparam("named"))
    plan = statements.compiled(built)
    assert plan is statements.compiled(built)
    sql, values = plan.bind({"named": "a"})
    assert (sql, values) == (plan.sql, ["a"])
    decoded = plan.decode([("z", 1, 1_767_225_600_000_000)])
    assert decoded == [("z", True, sample.START)]


def test_a_list_is_expanded_where_a_statement_asks_for_it(statements: Statements) -> None:
    table = table_of(sample.Zone)
    built = select(table.c.uuid).where(table.c.name.in_(bindparam("names", expanding=True)))
    sql, values = statements.compiled(built).bind({"names": ["a", "b", "c"]})
    assert sql.count("?") == 3
    assert values == ["a", "b", "c"]


def test_a_lock_is_asked_for_where_there_are_several_writers_and_comes_last() -> None:
    statements = Statements(MySQLDialect(paramstyle="qmark"), Seals.ephemeral())
    assert statements.get(sample.Host, lock=True).sql.endswith("FOR UPDATE")
    assert "FOR UPDATE" not in statements.get(sample.Host).sql
    found = statements.find(sample.Host, {"name": "a"}, "name", True, True, True)
    assert found is not None
    assert found[0].sql.endswith(" LIMIT ? FOR UPDATE")


def test_one_writer_needs_no_locks(statements: Statements) -> None:
    assert statements.get(sample.Host, lock=True).sql == statements.get(sample.Host).sql
