"""What MariaDB and MySQL are told of tables, where SQLAlchemy's own words do not do.

MySQL refuses two things that MariaDB takes: a default of a long text unless it is written as an expression, and a unique key over
a long text. There the key is over the text's digest instead: of two texts that differ in the case of letters it has both.
"""

from __future__ import annotations

import re

from sqlalchemy import Column, Dialect, UniqueConstraint
from sqlalchemy.dialects.mysql.base import MySQLDDLCompiler

_LONG = re.compile(r"(TINY|MEDIUM|LONG)?(TEXT|BLOB)\b|JSON\b")


class ServerDDL(MySQLDDLCompiler):
    """Writes the statements that make and change tables."""

    def get_column_default_string(self, column: Column[object]) -> str | None:
        """The default as both databases take it."""
        default = super().get_column_default_string(column)
        return default if default is None or not self._is_long(column) else f"({default})"

    def visit_unique_constraint(self, constraint: UniqueConstraint, **words: object) -> str:
        """The constraint, on MySQL with digests of long texts."""
        if getattr(self.dialect, "is_mariadb", False) or not any(self._is_long(one) for one in constraint.columns):
            return super().visit_unique_constraint(constraint, **words)
        name = self.preparer.format_constraint(constraint)
        parts = ", ".join(self._key_part(column) for column in constraint.columns)
        return f"{f'CONSTRAINT {name} ' if name else ''}UNIQUE ({parts})"

    def _key_part(self, column: Column[object]) -> str:
        name = self.preparer.quote(column.name)
        return f"(CAST(SHA2({name}, 256) AS CHAR(64) CHARACTER SET ascii))" if self._is_long(column) else name

    def _is_long(self, column: Column[object]) -> bool:
        return _LONG.match(self.dialect.type_compiler_instance.process(column.type)) is not None


def adapt(dialect: Dialect) -> None:
    """Have a dialect of theirs write tables so. Names stay as they are: `names.with_short_names` cuts them."""
    dialect.max_identifier_length = dialect.max_index_name_length = dialect.max_constraint_name_length = 255
    dialect.ddl_compiler = ServerDDL
