from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy.dialects import mysql, sqlite

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


@pytest.mark.parametrize(
    ("type_", "spec", "on_sqlite", "on_mysql"),
    [
        (types.Id(), "Id()", "TEXT", "VARCHAR(64) COLLATE ascii_bin"),
        (types.Name(), "Name(255)", 'TEXT COLLATE "NOCASE"', "VARCHAR(255) COLLATE utf8mb4_general_ci"),
        (types.Name(9, exact=True), "Name(9, exact=True)", "TEXT", "VARCHAR(9) COLLATE utf8mb4_bin"),
        (types.Name(None), "Name(None)", 'TEXT COLLATE "NOCASE"', "TEXT(4294967295) COLLATE utf8mb4_general_ci"),
        (types.Choice(), "Choice()", "TEXT", "VARCHAR(64) COLLATE ascii_bin"),
        (types.Whole(), "Whole()", "INTEGER", "BIGINT"),
        (types.Real(), "Real()", "REAL", "DOUBLE"),
        (types.Flag(), "Flag()", "INTEGER", "SMALLINT"),
        (types.Moment(), "Moment()", "INTEGER", "BIGINT"),
        (types.Blob(), "Blob()", "BLOB", "BLOB"),
        (types.Json(), "Json()", "TEXT", "TEXT(4294967295) COLLATE utf8mb4_bin"),
    ],
)
def test_types_are_written_down_and_made_on_each_database(
    type_: types.CairnType[object], spec: str, on_sqlite: str, on_mysql: str
) -> None:
    assert type_.spec() == spec
    assert type_.compile(dialect=sqlite.dialect()) == on_sqlite
    assert type_.compile(dialect=mysql.dialect()) == on_mysql
