from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.mysql.base import MySQLDialect

from cairn.kernel.store import types
from cairn.kernel.store.types import from_micros, to_micros

ZONES = st.integers(-23, 23).map(lambda hours: timezone(timedelta(hours=hours)))
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=ZONES)


@given(MOMENTS, MOMENTS)
@example(datetime(2107, 1, 1, microsecond=459, tzinfo=UTC), datetime(2107, 1, 1, microsecond=460, tzinfo=UTC))
def test_times_keep_their_instant_and_their_order(one: datetime, other: datetime) -> None:
    assert from_micros(to_micros(one)) == one
    assert from_micros(to_micros(one)).tzinfo is UTC
    assert (to_micros(one) < to_micros(other)) == (one < other)


def test_a_time_without_a_zone_is_a_mistake() -> None:
    with pytest.raises(TypeError):
        to_micros(datetime(2026, 1, 1))


CI, EXACT, ASCII = (
    " CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_nopad_as_ci",
    " CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin",
    " CHARACTER SET ascii COLLATE ascii_nopad_bin",
)


@pytest.mark.parametrize(
    ("type_", "spec", "on_sqlite", "on_mariadb"),
    [
        (types.Id(), "Id()", "TEXT", f"VARCHAR(64){ASCII}"),
        (types.Name(), "Name(255)", 'TEXT COLLATE "NOCASE"', f"VARCHAR(255){CI}"),
        (types.Name(9, exact=True), "Name(9, exact=True)", "TEXT", f"VARCHAR(9){EXACT}"),
        (types.Name(2048), "Name(2048)", 'TEXT COLLATE "NOCASE"', f"MEDIUMTEXT{CI}"),
        (types.Name(None), "Name(None)", 'TEXT COLLATE "NOCASE"', f"LONGTEXT{CI}"),
        (types.Choice(), "Choice()", "TEXT", f"VARCHAR(64){ASCII}"),
        (types.Whole(), "Whole()", "INTEGER", "BIGINT"),
        (types.Real(), "Real()", "REAL", "DOUBLE"),
        (types.Flag(), "Flag()", "INTEGER", "SMALLINT"),
        (types.Moment(), "Moment()", "INTEGER", "BIGINT"),
        (types.Blob(), "Blob()", "BLOB", "LONGBLOB"),
        (types.Json(), "Json()", "TEXT", f"LONGTEXT{EXACT}"),
    ],
)
def test_types_are_written_down_and_made_on_each_database(
    type_: types.CairnType[object], spec: str, on_sqlite: str, on_mariadb: str
) -> None:
    assert type_.spec() == spec
    assert type_.compile(dialect=sqlite.dialect()) == on_sqlite
    assert type_.compile(dialect=MySQLDialect(is_mariadb=True)) == on_mariadb


def test_mysql_has_other_names_for_the_same_comparisons() -> None:
    mysql = MySQLDialect()
    assert types.Name().compile(dialect=mysql).endswith("utf8mb4_0900_as_ci")
    assert types.Name(exact=True).compile(dialect=mysql).endswith("utf8mb4_0900_bin")
    assert types.Id().compile(dialect=mysql).endswith("ascii_bin")
