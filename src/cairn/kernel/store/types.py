"""Column types: one small set, the same in models and in migration scripts.

They fix what a value looks like in the database, so that it sorts and compares there as it does in Python: times are
whole microseconds since 1970 (UTC), flags are 0 and 1, enumerations and ids are text compared exactly, names are text
compared without regard to case (ASCII letters on SQLite). On SQLite each maps to a type that STRICT tables know.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Generic, TypeVar

import msgspec
from sqlalchemy import REAL, BigInteger, Dialect, Double, Integer, LargeBinary, SmallInteger, String
from sqlalchemy import Text as LongText
from sqlalchemy.types import TypeDecorator, TypeEngine

T = TypeVar("T")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware time. A time without a zone is a mistake: TypeError."""
    if moment.tzinfo is None:
        raise TypeError(f"{moment!r} has no time zone")
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The time, aware, UTC."""
    return _EPOCH + timedelta(0, 0, micros)


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
        """TEXT on SQLite, VARCHAR compared byte by byte on MySQL and MariaDB."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(LongText())
        return dialect.type_descriptor(String(64, collation="ascii_bin"))


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
        """TEXT with its collation on SQLite, VARCHAR or LONGTEXT elsewhere."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(LongText() if self.exact else LongText(collation="NOCASE"))
        collation = "utf8mb4_bin" if self.exact else "utf8mb4_general_ci"
        if self.length is None:
            return dialect.type_descriptor(LongText(2**32 - 1, collation=collation))
        return dialect.type_descriptor(String(self.length, collation=collation))


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
    """Bytes as they are: BLOB everywhere."""

    impl = LargeBinary
    cache_ok = True


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
        return dialect.type_descriptor(LongText(2**32 - 1, collation="utf8mb4_bin"))

    def process_bind_param(self, value: object, dialect: Dialect) -> str | None:
        """Encode with msgspec; None becomes NULL, not the text ``null``."""
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> object:
        """Decode the text into dicts, lists and plain values."""
        return None if value is None else msgspec.json.decode(value)
