"""Column types: one small set, the same in models and in migration scripts.

They fix what a value looks like in the database, so that it sorts and compares there as it does in Python: times are
whole microseconds since 1970 (UTC), flags are 0 and 1, enumerations and ids are text compared exactly, names are text
compared without regard to case. On SQLite that is ASCII letters alone, and each type maps to one that STRICT tables know. MariaDB
and MySQL know no such comparison: there, case is disregarded in all letters, by Unicode's rules, and accents count. Spaces at the
end count everywhere, but for ids on MySQL.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Generic, TypeVar

import msgspec
from sqlalchemy import REAL, BigInteger, Dialect, Double, Integer, LargeBinary, SmallInteger, String
from sqlalchemy import Text as LongText
from sqlalchemy.dialects.mysql import LONGBLOB, LONGTEXT, MEDIUMTEXT, VARCHAR
from sqlalchemy.types import TypeDecorator, TypeEngine

T = TypeVar("T")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
#: texts of more characters lie outside of the row: all of a row has 65,535 bytes, at four a character
_LONGEST_IN_ROW = 512
#: so many characters of a text that lies outside of its row are in an index on MariaDB and MySQL (``mysql_length``)
PREFIX = 255


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware time. A time without a zone is a mistake: TypeError."""
    if moment.tzinfo is None:
        raise TypeError(f"{moment!r} has no time zone")
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The time, aware, UTC."""
    return _EPOCH + timedelta(0, 0, micros)


def _is_mariadb(dialect: Dialect) -> bool:
    return bool(getattr(dialect, "is_mariadb", False))


def _collation(dialect: Dialect, *, exact: bool) -> str:
    """How text is compared on a server. Spaces at the end count."""
    if _is_mariadb(dialect):
        return "utf8mb4_nopad_bin" if exact else "utf8mb4_uca1400_nopad_as_ci"
    return "utf8mb4_0900_bin" if exact else "utf8mb4_0900_as_ci"


class CairnType(TypeDecorator[T], Generic[T]):
    """The base of all column types: they can be written down in a migration script."""

    cache_ok = True

    def spec(self) -> str:
        """The Python expression that makes this type, to be written into migration scripts."""
        return f"{type(self).__name__}()"


class Id(CairnType[str]):
    """A uuid or other key: up to 64 characters, compared exactly."""

    impl = String(64)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        """TEXT on SQLite, VARCHAR of ASCII compared byte by byte on MySQL and MariaDB."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(LongText())
        collation = "ascii_nopad_bin" if _is_mariadb(dialect) else "ascii_bin"
        return dialect.type_descriptor(VARCHAR(64, charset="ascii", collation=collation))


class Name(CairnType[str]):
    """Text for people. `length` in characters (None: no bound); `exact`: case matters."""

    impl = String
    cache_ok = True

    def __init__(self, length: int | None = 255, exact: bool = False) -> None:
        super().__init__()
        self.length = length
        self.exact = exact

    def spec(self) -> str:
        """The expression with its arguments, ``Name(255, exact=True)``."""
        return f"Name({self.length}, exact=True)" if self.exact else f"Name({self.length})"

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        """TEXT with its collation on SQLite, VARCHAR, MEDIUMTEXT or LONGTEXT elsewhere."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(LongText() if self.exact else LongText(collation="NOCASE"))
        collation = _collation(dialect, exact=self.exact)
        if self.length is None:
            return dialect.type_descriptor(LONGTEXT(charset="utf8mb4", collation=collation))
        if self.length > _LONGEST_IN_ROW:
            return dialect.type_descriptor(MEDIUMTEXT(charset="utf8mb4", collation=collation))
        return dialect.type_descriptor(VARCHAR(self.length, charset="utf8mb4", collation=collation))


def is_long(kind: object) -> bool:
    """Whether a column is text that lies outside of its row on MariaDB and MySQL, so that an index has its beginning only."""
    return isinstance(kind, Name) and (kind.length is None or kind.length > _LONGEST_IN_ROW)


class Choice(CairnType[str]):
    """A member of an enumeration, by its value, compared exactly."""

    impl = String(64)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        """Stored as an `Id` is, so that it is compared exactly."""
        return Id().load_dialect_impl(dialect)

    def process_bind_param(self, value: object, dialect: Dialect) -> str | None:
        """Store the member's value; plain text, as queries have it, is taken as it is."""
        return value.value if isinstance(value, Enum) else None if value is None else str(value)


class Whole(CairnType[int]):
    """A whole number of 64 bits."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[int]:
        """INTEGER on SQLite (64 bits there), BIGINT elsewhere."""
        return dialect.type_descriptor(Integer() if dialect.name == "sqlite" else BigInteger())


class Real(CairnType[float]):
    """A floating-point number of double precision."""

    impl = Double
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[float]:
        """REAL on SQLite, DOUBLE elsewhere."""
        return dialect.type_descriptor(REAL() if dialect.name == "sqlite" else Double())


class Flag(CairnType[bool]):
    """True or false, as 1 or 0."""

    impl = SmallInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[int]:
        """INTEGER on SQLite, SMALLINT elsewhere."""
        return dialect.type_descriptor(Integer() if dialect.name == "sqlite" else SmallInteger())

    def process_bind_param(self, value: bool | None, dialect: Dialect) -> int | None:
        """True is stored as 1, False as 0."""
        return None if value is None else int(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> bool | None:
        """Any number but 0 is True."""
        return None if value is None else bool(value)


class Moment(CairnType[datetime]):
    """A time: microseconds since 1970, UTC."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[int]:
        """Stored as a `Whole` number is."""
        return Whole().load_dialect_impl(dialect)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Store microseconds since 1970."""
        return None if value is None else to_micros(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """The stored microseconds as an aware time in UTC."""
        return None if value is None else from_micros(value)


class Blob(CairnType[bytes]):
    """Bytes as they are."""

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[bytes]:
        """BLOB on SQLite, LONGBLOB elsewhere, whose BLOB ends at 64 KiB."""
        return dialect.type_descriptor(LargeBinary() if dialect.name == "sqlite" else LONGBLOB())


class Closed(CairnType[object]):
    """Stands for a sealed column in statements that are built by hand: these can neither write its values nor read them."""

    impl = LongText
    cache_ok = True

    def process_bind_param(self, value: object, dialect: Dialect) -> None:
        """Refuse: it would be stored in clear."""
        raise TypeError("a sealed column is written by Tx.insert and Tx.update only, which seal it")

    def process_result_value(self, value: object, dialect: Dialect) -> None:
        """Refuse: it is sealed."""
        raise TypeError("a sealed column is read by Tx.get and Tx.find only, which open it")


class Json(CairnType[object]):
    """Anything that msgspec can encode, as JSON text, compared exactly."""

    impl = LongText
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        """TEXT on SQLite, LONGTEXT elsewhere."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(LongText())
        return dialect.type_descriptor(LONGTEXT(charset="utf8mb4", collation=_collation(dialect, exact=True)))

    def process_bind_param(self, value: object, dialect: Dialect) -> str | None:
        """Encode with msgspec; None becomes NULL, not the text ``null``."""
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> object:
        """Decode the text into dicts, lists and plain values."""
        return None if value is None else msgspec.json.decode(value)
