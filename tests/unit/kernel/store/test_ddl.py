"""What MariaDB and MySQL are told of tables: by the rules of their manuals, as no MySQL runs in tests."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic.ddl.base import AddColumn
from sqlalchemy.dialects.mysql.base import MySQLDialect
from sqlalchemy.schema import CreateIndex, CreateTable

from cairn.bootstrap import load_plugins
from cairn.kernel.assembly import make_schema
from cairn.kernel.settings import load
from cairn.kernel.store import types
from cairn.kernel.store.ddl import adapt

TEXT = "'[]'"
#: InnoDB takes keys of so many bytes, and rows of so many beside what lies outside of them
MOST_KEY_BYTES, MOST_ROW_BYTES = 3072, 65_535
_VARCHAR = re.compile(r"VARCHAR\((\d+)\)")


def dialect(*, is_mariadb: bool) -> MySQLDialect:
    made = MySQLDialect(paramstyle="qmark", is_mariadb=is_mariadb)
    adapt(made)
    return made


def table() -> sa.Table:
    return sa.Table(
        "debt",
        sa.MetaData(),
        sa.Column("uuid", types.Id(), primary_key=True),
        sa.Column("path", types.Name(2048), nullable=False),
        sa.Column("nics", types.Json(), nullable=False, server_default=sa.text(TEXT)),
        sa.Column("size", types.Whole(), nullable=False, server_default=sa.text("0")),
        sa.UniqueConstraint("uuid", "path", name="uq_path"),
        sa.UniqueConstraint("uuid", "size", name="uq_size"),
    )


@pytest.mark.parametrize("is_mariadb", [True, False])
def test_a_default_of_a_long_text_is_an_expression_and_no_other_is(*, is_mariadb: bool) -> None:
    made = str(CreateTable(table()).compile(dialect=dialect(is_mariadb=is_mariadb)))
    assert "nics LONGTEXT" in made
    assert f"DEFAULT ({TEXT})" in made
    assert "size BIGINT NOT NULL DEFAULT 0" in made
    added = AddColumn("debt", sa.Column("more", types.Json(), nullable=False, server_default=sa.text(TEXT)))
    assert f"DEFAULT ({TEXT})" in str(added.compile(dialect=dialect(is_mariadb=is_mariadb)))


def test_a_unique_long_text_is_one_by_its_digest_on_mysql() -> None:
    mysql, mariadb = (
        str(CreateTable(table()).compile(dialect=dialect(is_mariadb=is_mariadb))) for is_mariadb in (False, True)
    )
    digest = "(CAST(SHA2(path, 256) AS CHAR(64) CHARACTER SET ascii))"
    assert f"CONSTRAINT uq_path UNIQUE (uuid, {digest})" in mysql
    assert "CONSTRAINT uq_path UNIQUE (uuid, path)" in mariadb
    for made in (mysql, mariadb):
        assert "CONSTRAINT uq_size UNIQUE (uuid, size)" in made


def size(kind: sa.types.TypeEngine[object], at: MySQLDialect) -> int:
    """How many bytes a column takes in a row; a long text ten at least."""
    text = at.type_compiler_instance.process(kind)
    found = _VARCHAR.match(text)
    letters = int(found[1]) if found else 0
    return letters * (1 if "ascii" in text else 4) + 10


def too_much() -> Iterator[str]:
    """What a MySQL server would refuse of the tables of all that is shipped."""
    at = dialect(is_mariadb=False)
    for one in make_schema(load_plugins(load({}))).metadata.tables.values():
        row = sum(size(column.type, at) for column in one.columns)
        if row > MOST_ROW_BYTES:
            yield f"{one.name}: rows of {row} bytes"
        plain = [one.primary_key, *(key for key in one.constraints if isinstance(key, sa.UniqueConstraint))]
        for key in plain:
            yield from _of_key(f"{one.name} {key.name}", key.columns, at)
        for index in one.indexes:
            made = str(CreateIndex(index).compile(dialect=at))
            for column in index.columns:
                if types.is_long(column.type) and f"{column.name}(" not in made:
                    yield f"{one.name} {index.name}: {column.name} without a length"
            yield from _of_key(f"{one.name} {index.name}", index.columns, at)


def _of_key(name: str, columns: sa.ColumnCollection[str, sa.Column[object]], at: MySQLDialect) -> Iterator[str]:
    needed = sum(size(column.type, at) for column in columns)
    if needed > MOST_KEY_BYTES:
        yield f"{name}: a key of {needed} bytes"


def test_a_mysql_server_would_take_all_tables() -> None:
    assert list(too_much()) == []
