"""Migration scripts on MariaDB and MySQL, where each statement that changes a table is a commit of its own.

So that an upgrade which is broken off can go on, the table ``migration_underway`` counts the statements of the current script
that were begun, and those that were done; the next run passes over the latter. A statement that changes rows is counted in its
own transaction. One that changes a table is counted as begun before, and as done with the next one: of a statement that was begun
and did not fail, and of no other, it does not matter if what it makes is there already. Both counts are zero again as soon as
the script's revision is noted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol, cast

import sqlalchemy as sa
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.pool import NullPool

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.store.address import ServerAddress
from cairn.kernel.store.mariadb import allow_long_names, code_of
from cairn.kernel.store.names import with_short_names

VERSION_TABLE: Final = "alembic_version_"
UNDERWAY: Final = "migration_underway"
_READS: Final = re.compile(r"\s*(SELECT|SHOW|SET|DESCRIBE|EXPLAIN|DO)\b", re.IGNORECASE)
_MAKES_TABLE: Final = re.compile(r"\s*CREATE TABLE\b", re.IGNORECASE)
_DEFINES: Final = re.compile(r"\s*(CREATE|ALTER|DROP|RENAME)\b", re.IGNORECASE)
#: table, column, key, or foreign key is there already, or gone already
_ALREADY: Final = frozenset({1050, 1051, 1054, 1060, 1061, 1068, 1091, 1826})
_WAIT_SECONDS: Final = 600
_NOTHING: Final = "DO 0"


class _Cursor(Protocol):
    def execute(self, statement: str, parameters: object = None, /) -> object: ...

    def close(self) -> None: ...


class ServerUpgrade:
    """An upgrade of a database on a server, which no other node is at."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self._label = ""
        self._done = 0  #: statements of the script, this time
        self._skipped = 0  #: as many were done another time
        self._perhaps = 0  #: the number of one that was begun another time, and may have been done
        connection.exec_driver_sql(
            f"CREATE TABLE IF NOT EXISTS {UNDERWAY} (label VARCHAR(64) NOT NULL PRIMARY KEY, "
            "begun BIGINT NOT NULL, done BIGINT NOT NULL)"
        )
        sa.event.listen(connection, "before_cursor_execute", self._before, retval=True)
        sa.event.listen(connection, "after_cursor_execute", self._after)
        sa.event.listen(connection.engine, "handle_error", self._failed)

    @contextmanager
    def scripts_of(self, label: str) -> Iterator[None]:
        """Count the statements of this folder's scripts."""
        asked = f"SELECT begun, done FROM {UNDERWAY} WHERE label = %s"  # noqa: S608 (a table of ours)
        row = self.connection.exec_driver_sql(asked, (label,)).one_or_none()
        self._perhaps, self._skipped = (0, 0) if row is None else (int(row[0]), int(row[1]))
        self._label, self._done = label, 0
        yield
        self.connection.commit()
        self._label = ""

    def _before(
        self, _: object, __: object, statement: str, parameters: object, context: object, many: bool
    ) -> tuple[str, object]:
        statement = with_short_names(statement)
        if not self._counts(statement):
            return statement, parameters
        self._done += 1
        if self._done <= self._skipped:
            return _NOTHING, ()
        if _MAKES_TABLE.match(statement):  # its references may point to a table that comes later
            self._run("SET foreign_key_checks = 0")
        if not _DEFINES.match(statement):
            return statement, parameters
        if self._done == self._perhaps:
            self._do_unless_done(statement)
            return _NOTHING, ()
        self._note(begun=self._done, done=self._done - 1)
        return statement, parameters

    def _after(self, _: object, __: object, statement: str, parameters: object, context: object, many: bool) -> None:
        if self._label and VERSION_TABLE in statement and not _READS.match(statement):
            self._done = self._skipped = self._perhaps = 0
            self._note(begun=0, done=0)
        elif self._counts(statement) and not _DEFINES.match(statement):
            self._note(begun=self._done, done=self._done)
        elif _MAKES_TABLE.match(statement):
            self._run("SET foreign_key_checks = 1")

    def _failed(self, context: ExceptionContext) -> None:
        """A statement that fails has changed nothing: when it is tried again, what is there already is a mistake."""
        if self._label and self._done > self._skipped and code_of(context.original_exception):
            with suppress(Exception):  # the connection may be what failed
                self._note(begun=self._done - 1, done=self._done - 1)

    def _counts(self, statement: str) -> bool:
        return bool(self._label) and VERSION_TABLE not in statement and not _READS.match(statement)

    def _note(self, *, begun: int, done: int) -> None:
        row = f"REPLACE INTO {UNDERWAY} (label, begun, done) VALUES (%s, %s, %s)"  # noqa: S608 (a table of ours)
        self._run(row, (self._label, begun, done))
        self._run("COMMIT")

    def _do_unless_done(self, statement: str) -> None:
        """Run a statement that another run had begun, and perhaps done."""
        try:
            self._run(statement)
        except Exception as error:
            if code_of(error) not in _ALREADY:
                raise

    def _run(self, statement: str, parameters: object = None) -> None:
        """Run a statement beside SQLAlchemy's, with a cursor of its own."""
        cursor = cast("_Cursor", self.connection.connection.cursor())
        cursor.execute(statement, parameters)
        cursor.close()


@contextmanager
def server_connection(address: ServerAddress) -> Iterator[ServerUpgrade]:
    """A connection for an upgrade, as soon as no other node is at one.

    Raises:
        CairnError: ``store.upgrade-busy``: another one took too long.
    """
    engine = _engine(address)
    with engine.connect() as connection:
        name = f"cairn-upgrade:{address.database}"[:64]
        if connection.exec_driver_sql("SELECT GET_LOCK(%s, %s)", (name, _WAIT_SECONDS)).scalar() != 1:
            raise CairnError(
                "store.upgrade-busy",
                f"Another node has been bringing the database up to date for {_WAIT_SECONDS} s. Look at its log, and start this "
                "one again when it is done.",
                kind=ErrorKind.UNAVAILABLE,
            )
        yield ServerUpgrade(connection)
        connection.commit()
    engine.dispose()  # the lock ends with the connection


def _engine(address: ServerAddress) -> sa.Engine:
    where = {"unix_socket": address.socket} if address.socket else {"host": address.host, "port": address.port}
    files = {"ca": address.ssl_ca, "cert": address.ssl_cert, "key": address.ssl_key}
    tls = {"ssl": {name: file for name, file in files.items() if file}, "ssl_mode": "VERIFY_IDENTITY"}
    arguments: dict[str, object] = {
        **where,
        "user": address.user,
        "password": address.password,
        "database": address.database,
        "charset": "utf8mb4",
        "connect_timeout": 10,
        **(tls if address.ssl_ca else {}),
    }
    engine = sa.create_engine("mysql+mysqldb://", connect_args=arguments, poolclass=NullPool)
    allow_long_names(engine.dialect)

    @sa.event.listens_for(engine, "connect")
    def modes(raw: object, _: object) -> None:
        cursor = cast("_Connected", raw).cursor()
        cursor.execute("SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,PIPES_AS_CONCAT'")

    return engine


class _Connected(Protocol):
    def cursor(self) -> _Cursor: ...
