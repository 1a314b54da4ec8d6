"""MariaDB and MySQL: InnoDB, over mysqlclient's C layer, values put into the text by the client library's own quoting.

**Sessions.** A writer reads what is committed (READ COMMITTED): it waits for rows that others change and then sees them as they
are, so that ``UPDATE … WHERE available >= :need`` decides on the truth. A reader has one snapshot for the whole of its
function (REPEATABLE READ), and the server refuses what it tries to write. Transactions begin with their first statement, which
saves a round trip. ``"`` quotes names, ``||`` joins text, ``\\`` is a letter like any other, and assignments of one UPDATE
do not see each other, all as in the standard and in SQLite.

**A commit without an answer.** When the connection is lost while a commit is under way, nobody knows whether it was made. So
each transaction that changes something sets a number in a row of its connection's own (`CommitMark`). The next connection ends
the lost one, if the server still has it (the lost one holds a named lock, which tells its number), waits until its row is
free, and reads the number (`committed`).

**Prepared statements.** Of what a statement costs the server, reading its text is a third. A text that comes again and again
is prepared once for a connection, and from then on only its name and its values are sent (``EXECUTE … USING``). That is a
statement like any other: values are quoted by the client library, rows come as text. MySQL takes variables only there, so it
is sent whole texts.
"""

from __future__ import annotations

import importlib
import re
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Annotated, ClassVar, Protocol, cast

from sqlalchemy import Dialect, Table
from sqlalchemy.dialects.mysql.base import MySQLDialect
from sqlalchemy.schema import CreateIndex, CreateTable

from cairn.kernel.clock import SystemClock
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.store.address import ServerAddress
from cairn.kernel.store.driver import KEY_NAME, Connection, Mark, Row, Trouble
from cairn.kernel.store.names import with_short_names
from cairn.kernel.store.record import Key, Record, SqlValue, TableMeta
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.trouble import explain

_CONNECT_SECONDS = 5
#: a server that says nothing for so long is taken for lost
_SILENT_SECONDS = 60
_LOCK_WAIT_SECONDS = 10
_STEPS_A_SECOND = 25_000_000  #: of SQLite's machine, in which `fetch_within` counts
_SHORTEST_SECONDS = 0.001
_BULK_ROWS = 500
_BULK_BYTES = 1 << 20
_MARKS_KEPT_SECONDS = 7 * 86_400
_KEPT_TEXTS = 4096
#: a text that a connection has used so often is prepared, as long as there are no more than so many, each of so many letters
_USES_UNPREPARED = 8
_MOST_PREPARED = 128
_LONGEST_PREPARED = 8192
_TOO_MANY_PREPARED = 1461

_DEADLOCK = frozenset({1020, 1213})
_LOCK_WAIT = 1205
#: the connection, or the server behind it, is gone or not there yet
_UNREACHABLE = frozenset(
    {1040, 1047, 1053, 1152, 1158, 1159, 1160, 1161, 1203, 1927, 2002, 2003, 2005, 2006, 2013, 2026, 2055, 4031}
)
_NO_ACCESS = frozenset({1044, 1045, 1049, 1130, 1698})
_TROUBLES: dict[int, Trouble] = {
    **dict.fromkeys((1022, 1062, 1586), Trouble.DUPLICATE),
    **dict.fromkeys((1216, 1217, 1451, 1452), Trouble.REFERENCE),
    **dict.fromkeys((1048, 1364), Trouble.NULL),
    **dict.fromkeys((3, 28, 1021, 1114), Trouble.FULL),
    **dict.fromkeys((1290, 1792, 1836), Trouble.READ_ONLY),
    **dict.fromkeys((1969, 3024, 1317), Trouble.STOPPED),
    **dict.fromkeys((126, 127, 145, 1016, 1030, 1034, 1035, 1194), Trouble.BROKEN),
    **dict.fromkeys(_DEADLOCK, Trouble.DEADLOCK),
    **dict.fromkeys(_UNREACHABLE, Trouble.UNREACHABLE),
    _LOCK_WAIT: Trouble.BUSY,
}
_DUPLICATE_KEY = re.compile(r"for key '(?:[^']*\.)?([^'.]+)'$")
_COLUMN = re.compile(r"(?:Column|Field) '([^']+)'")
_BULK = re.compile(r"(INSERT INTO .* VALUES )(\([?, ]+\))$", re.DOTALL)
_INDEX = re.compile(r"CREATE (UNIQUE )?INDEX (\S+) ON \S+ (\(.*\))", re.DOTALL)
_MODES = "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES"


_monotonic = SystemClock().monotonic  #: a server breaks queries off by real time, whatever a node's clock says


class CommitMark(Record, frozen=True, kw_only=True):
    """The last commit of a connection that writes; see the head of `cairn.kernel.store.mariadb`. Unused on SQLite."""

    meta: ClassVar[TableMeta] = TableMeta(table="commit_mark", indexes=(("marked_seconds",),), local=True)

    uuid: Annotated[str, Key()]  #: of the connection
    number: int  #: of its last commit
    marked_seconds: int  #: since 1970, by the server: rows that nobody marked for a week are removed


class Raw(Protocol):
    """A connection of mysqlclient's module `_mysql`."""

    def query(self, query: bytes, /) -> None:
        """Send a statement and wait for its answer."""

    def store_result(self) -> RawResult | None:
        """Its rows; None if it has none."""

    def affected_rows(self) -> int:
        """How many rows it found."""

    def string_literal(self, value: bytes, /) -> bytes:
        """Quoted for the state that the session is in."""

    def get_server_info(self) -> str:
        """The version, as the server tells it."""

    def set_character_set(self, name: str, /) -> None:
        """Say how text is encoded both ways."""

    def close(self) -> None:
        """End it."""


class RawResult(Protocol):
    """Rows of mysqlclient's module `_mysql`."""

    def fetch_row(self, maxrows: int, how: int, /) -> tuple[Row, ...]:
        """So many rows (0: all) as tuples."""


class _Module(Protocol):
    """mysqlclient's module `_mysql`."""

    Error: type[Exception]

    def connect(self, **arguments: object) -> Raw:
        """Connect."""


def client() -> _Module:
    """mysqlclient, which is needed for these databases only.

    Raises:
        CairnError: ``store.no-client``: it is not installed.
    """
    try:
        return cast("_Module", importlib.import_module("MySQLdb._mysql"))
    except ImportError as error:
        raise CairnError(
            "store.no-client",
            "The database is on a MariaDB or MySQL server, and the Python package mysqlclient, which talks to these, cannot be "
            "loaded. Install it: pip install 'cairn-cloud[mariadb]', for which Debian's libmariadb-dev must be there.",
            kind=ErrorKind.UNAVAILABLE,
            operator=str(error),
        ) from error


def code_of(error: BaseException) -> int:
    """The number of an error of mysqlclient; 0 for any other."""
    if type(error).__module__.partition(".")[0] != "MySQLdb" or not error.args or not isinstance(error.args[0], int):
        return 0
    return error.args[0]


@lru_cache(_KEPT_TEXTS)
def _form(sql: str) -> bytes:
    """A statement with ``%s`` where values go. Question marks stand for values only: texts of ours have no other."""
    return sql.encode().replace(b"%", b"%%").replace(b"?", b"%s")


@lru_cache(_KEPT_TEXTS)
def _bulk_form(sql: str) -> tuple[bytes, bytes] | None:
    """The head of an INSERT and the form of its values; None for another statement."""
    found = _BULK.match(sql)
    return None if found is None else (found[1].encode(), found[2].encode().replace(b"?", b"%s"))


def _number(text: str) -> int | float:
    """A DECIMAL, which sums are."""
    return float(text) if "." in text else int(text)


_INTEGERS = (1, 2, 3, 8, 9)
_FLOATS = (4, 5)
_DECIMALS = (0, 246)
_TEXTS = (249, 250, 251, 252, 253, 254)
_BINARY = 128
_CONVERTERS: dict[int, object] = {
    **dict.fromkeys(_INTEGERS, int),
    **dict.fromkeys(_FLOATS, float),
    **dict.fromkeys(_DECIMALS, _number),
    **dict.fromkeys(_TEXTS, ((_BINARY, bytes), (None, str))),
}


class MariadbConnection:
    """A session whose transactions we begin and end ourselves."""

    def __init__(self, raw: Raw, error: type[Exception], *, read_only: bool, is_mariadb: bool) -> None:
        self._raw = raw
        self._error = error
        self._query = raw.query
        self._literal = raw.string_literal
        self._is_mariadb = is_mariadb
        self._until: float | None = None
        self._due: Callable[[], bool] | None = None
        self._open = False
        self._changed = False
        self._name = "" if read_only else uuid.uuid4().hex
        self._number = 0
        self._uses: dict[str, int] = {}  #: of texts that are not prepared
        self._prepared: dict[str, bytes] = {}  #: what executes a text; empty: it is sent as it is
        self._prepares = is_mariadb
        self.interrupted: BaseException | None = None
        self.doubtful: Mark | None = None

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open; a deadlock and a lost connection end it."""
        return self._open

    def begin(self) -> None:
        """Open a transaction; the server hears of it with the first statement."""
        self._open, self._changed = True, False
        self.interrupted = self.doubtful = None

    def commit(self) -> None:
        """Commit; when this returns the changes are as durable as the server makes them."""
        mark = self._mark() if self._changed and self._name else None
        try:
            self._send(b"COMMIT")
        except self._error:
            if self.interrupted is not None and code_of(self.interrupted) in _UNREACHABLE:
                self.doubtful = mark
            raise
        self._open = False

    def _mark(self) -> Mark:
        number = self._number + 1
        set_to = f"number = {number}, marked_seconds = UNIX_TIMESTAMP()"
        self._send(f"UPDATE commit_mark SET {set_to} WHERE uuid = '{self._name}'".encode())  # noqa: S608 (a name and a number of ours)
        if self._raw.affected_rows() == 0:
            row = f"('{self._name}', {number}, UNIX_TIMESTAMP())"
            self._send(f"INSERT INTO commit_mark (uuid, number, marked_seconds) VALUES {row}".encode())  # noqa: S608 (the same)
        self._number = number
        return Mark(connection=self._name, number=number)

    def hold_name(self) -> None:
        """Take the named lock by which a later connection finds this one. For a writer, once."""
        self._send(f"SELECT GET_LOCK('{_lock_name(self._name)}', 0)".encode())
        self._raw.store_result()

    def committed(self, mark: Mark) -> bool:
        """Whether that commit of a connection which was lost was made. Waits until the server has given up the connection."""
        lock = _lock_name(mark.connection)
        holder = self.fetch_one("SELECT IS_USED_LOCK(?)", (lock,))
        if holder is not None and isinstance(holder[0], int):
            with suppress(self._error):  # it has ended meanwhile
                self._send(f"KILL {holder[0]}".encode())
        self.begin()
        row = self.fetch_one("SELECT number FROM commit_mark WHERE uuid = ? FOR UPDATE", (mark.connection,))
        self.rollback()
        return row is not None and isinstance(row[0], int) and row[0] >= mark.number

    def rollback(self) -> None:
        """Give up the transaction; does nothing if none is open."""
        if self._open:
            self._open = False
            self._send(b"ROLLBACK")

    def savepoint(self) -> None:
        """Mark this place. There is one mark at a time, so its name is fixed."""
        self._send(b"SAVEPOINT one")

    def release(self) -> None:
        """Forget the mark; what was done since stays part of the transaction."""
        self._send(b"RELEASE SAVEPOINT one")

    def rollback_to_savepoint(self) -> None:
        """Undo what was done since the mark, and forget it."""
        self._send(b"ROLLBACK TO SAVEPOINT one")
        self._send(b"RELEASE SAVEPOINT one")

    def execute(self, sql: str, values: Sequence[SqlValue]) -> int:
        """Run a statement and return how many rows it found to change."""
        self._changed = True
        self._send(self._text(sql, values))
        return self._raw.affected_rows()

    def _text(self, sql: str, values: Sequence[SqlValue]) -> bytes:
        """What is sent for a statement with these values."""
        execute = self._prepared.get(sql)
        if execute is None and self._prepares:
            execute = self._prepare(sql)
        if not execute:
            return _form(sql) % tuple(map(self._quoted, values))
        return b"%s USING %s" % (execute, b",".join(map(self._quoted, values))) if values else execute

    def _prepare(self, sql: str) -> bytes | None:
        """Count a use, and prepare the text when there have been enough. What executes it; None: it is not prepared."""
        uses = self._uses.get(sql, 0)
        if uses < _USES_UNPREPARED:
            if len(self._uses) >= _KEPT_TEXTS:
                self._uses.clear()
            self._uses[sql] = uses + 1
            return None
        execute = b"" if len(sql) > _LONGEST_PREPARED else b"EXECUTE s%d" % len(self._prepared)
        if execute:
            try:
                self._send(b"PREPARE s%d FROM %s" % (len(self._prepared), self._literal(sql.encode())))
            except self._error as error:
                if self.interrupted is not None:
                    raise
                execute = b""  # the server prepares no such statement, or no more: what is wrong with the text it will say again
                self._prepares = code_of(error) != _TOO_MANY_PREPARED
        self._uses.pop(sql, None)
        self._prepared[sql] = execute
        self._prepares = self._prepares and len(self._prepared) < _MOST_PREPARED
        return execute

    def execute_many(self, sql: str, values: Iterable[Sequence[SqlValue]]) -> int:
        """Run a statement for each set of values; of an INSERT, as many rows go in one statement as fit well."""
        bulk = _bulk_form(sql)
        if bulk is None:
            return sum(self.execute(sql, one) for one in values)
        self._changed = True
        head, form = bulk
        quoted, total, rows, size = self._quoted, 0, [], 0
        for one in values:
            rows.append(form % tuple(map(quoted, one)))
            size += len(rows[-1])
            if len(rows) >= _BULK_ROWS or size >= _BULK_BYTES:
                total += self._insert(head, rows)
                rows, size = [], 0
        return total + self._insert(head, rows)

    def _insert(self, head: bytes, rows: list[bytes]) -> int:
        if not rows:
            return 0
        self._send(head + b",".join(rows))
        return self._raw.affected_rows()

    def fetch(self, sql: str, values: Sequence[SqlValue]) -> list[Row]:
        """Run a query and read all of its rows at once."""
        if self._until is not None or self._due is not None:  # from outside: texts of all kinds, that may be broken off
            return self._fetch(_form(sql) % tuple(map(self._quoted, values)))
        return self._fetch(self._text(sql, values))

    def fetch_one(self, sql: str, values: Sequence[SqlValue]) -> Row | None:
        """Run a query and read its first row."""
        found = self.fetch(sql, values)
        return found[0] if found else None

    def fetch_within(self, sql: str, values: Sequence[SqlValue], steps: int) -> list[Row] | None:
        """As `fetch`; None if it takes more time than SQLite needs for that many steps."""
        seconds = steps / _STEPS_A_SECOND
        before, until = self._until, _monotonic() + seconds
        self._until = until if before is None else min(until, before)
        try:
            return self.fetch(sql, values)
        except self._error as error:
            over = before is not None and _monotonic() >= before
            if _TROUBLES.get(code_of(error)) is not Trouble.STOPPED or over:
                raise
            return None
        finally:
            self._until = before

    def _fetch(self, text: bytes) -> list[Row]:
        if self._due is not None and self._due():
            raise _Stopped(1317, "its time is over")
        if self._until is not None:
            text = self._limited(text)
        self._send(text)
        try:
            result = self._raw.store_result()
        except self._error as error:  # a query that locks rows may find a deadlock behind its first ones
            self._note(error)
            raise
        return [] if result is None else list(result.fetch_row(0, 0))

    def _limited(self, text: bytes) -> bytes:
        """The query with the time that it may take at most."""
        assert self._until is not None
        seconds = max(self._until - _monotonic(), _SHORTEST_SECONDS)
        if self._is_mariadb:
            return b"SET STATEMENT max_statement_time=%.4f FOR %s" % (seconds, text)
        head, select, rest = text.partition(b"SELECT ")
        return b"%sSELECT /*+ MAX_EXECUTION_TIME(%d) */ %s" % (head, seconds * 1000 + 1, rest) if select else text

    def stop_when(self, due: Callable[[], bool] | None, seconds: float | None = None) -> None:
        """Break off statements after so many `seconds`, by the server; `due` is asked before each statement only."""
        self._due = due
        self._until = None if seconds is None else _monotonic() + seconds

    def optimize(self) -> None:
        """The server keeps its statistics itself."""

    def columns(self) -> dict[str, set[str]]:
        """All tables of our database, each with its columns."""
        found: dict[str, set[str]] = {}
        asked = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE()"
        for table, column in self.fetch(asked, ()):
            found.setdefault(str(table), set()).add(str(column))
        self._send(b"COMMIT")
        return found

    def references(self) -> dict[str, set[str]]:
        """As the tables of our database declare them."""
        found: dict[str, set[str]] = {}
        asked = (
            "SELECT table_name, referenced_table_name FROM information_schema.referential_constraints "
            "WHERE constraint_schema = DATABASE()"
        )
        for table, other in self.fetch(asked, ()):
            found.setdefault(str(table), set()).add(str(other))
        self._send(b"COMMIT")
        return found

    def watch_references(self, watch: bool) -> None:
        """The server does so as long as the connection wants it."""
        self._send(f"SET SESSION foreign_key_checks = {int(watch)}".encode())

    def damage(self) -> list[str]:
        """What the server's own check of each table says; at most a hundred findings."""
        names = ", ".join(f"`{table}`" for table in sorted(self.columns()))
        rows = self.fetch(f"CHECK TABLE {names}", ()) if names else []
        told = [(str(row[0]), str(row[3])) for row in rows]  # table, operation, kind, text
        return [f"{table}: {text}" for table, text in told if text not in ("OK", "Table is already up to date")][:100]

    def last_numbers(self) -> dict[str, int]:
        """As the server has it for each table that counts."""
        if not self._is_mariadb:  # MySQL shows numbers of yesterday, unless told not to
            self.execute("SET SESSION information_schema_stats_expiry = 0", ())
        asked = (
            "SELECT table_name, auto_increment - 1 FROM information_schema.tables "
            "WHERE table_schema = DATABASE() AND auto_increment IS NOT NULL"
        )
        return {str(table): int(str(number)) for table, number in self.fetch(asked, ())}

    def leave_no_traces(self) -> None:
        """InnoDB keeps old versions of rows until it purges them; where that matters, its files are encrypted."""

    def remove_traces(self) -> None:
        """The same."""

    def content(self) -> bytes:
        """A server's database is copied by its own tools."""
        raise NotImplementedError

    def close(self) -> None:
        """End the session; the server rolls back what was not committed."""
        self._raw.close()

    def _send(self, text: bytes) -> None:
        if self.interrupted is not None:  # what a function does regardless would begin a transaction of its own
            raise self.interrupted
        try:
            self._query(text)
        except self._error as error:
            self._note(error)
            raise

    def _note(self, error: BaseException) -> None:
        """Know that the transaction is over, where this error means it."""
        code = code_of(error)
        if code in _DEADLOCK or code == _LOCK_WAIT:
            self.interrupted, self._open = error, False
            with suppress(self._error):  # after a wait the server has undone the one statement only
                self._query(b"ROLLBACK")
        elif code in _UNREACHABLE:
            self.interrupted, self._open = error, False

    def _quoted(self, value: SqlValue) -> bytes:
        """A value as it stands in a statement."""
        kind = type(value)
        if kind is str:
            return self._literal(cast("str", value).encode())
        if kind is int:
            return _whole(cast("int", value))
        if value is None:
            return b"NULL"
        if kind is bytes:
            return b"_binary" + self._literal(cast("bytes", value))
        if kind is float:
            return repr(value).encode()
        if isinstance(value, str):  # a member of an enumeration
            return self._literal(str.encode(value))
        if isinstance(value, int):  # a bool
            return b"%d" % value
        raise TypeError(f"a value of {kind.__name__} does not fit into the database")


class _Stopped(Exception):
    """A statement was not even begun, as its time was over."""


class MariadbDriver:
    """A database on a MariaDB or MySQL server.

    Args:
        address: where it is, and as whom we come.

    Raises:
        CairnError: ``store.no-client``, ``store.no-access``, ``store.unreachable``.
    """

    private = False
    one_writer = False
    near = False
    readers = 4
    row_order: str | None = None

    def __init__(self, address: ServerAddress) -> None:
        self.address = address
        self.writers = address.writers
        self._module = client()
        try:
            raw = self._connect()
        except self._module.Error as error:
            raise explain(*(self.trouble(error) or (Trouble.OTHER, "")), None) from error
        version = raw.get_server_info()
        raw.close()
        self.is_mariadb = "mariadb" in version.lower()
        self.dialect: Dialect = MySQLDialect(paramstyle="qmark", is_mariadb=self.is_mariadb)
        allow_long_names(self.dialect)

    def connect(self, *, read_only: bool) -> Connection:
        """A session for its use."""
        raw = self._connect()
        try:
            for one in self._settings(read_only):
                raw.query(f"SET SESSION {one}".encode())
            made = self._made(raw, read_only)
            if not read_only:
                made.hold_name()
                _forget_old_marks(raw)
        except BaseException:
            raw.close()
            raise
        return made

    def _made(self, raw: Raw, read_only: bool) -> MariadbConnection:
        return MariadbConnection(raw, self._module.Error, read_only=read_only, is_mariadb=self.is_mariadb)

    def _connect(self) -> Raw:
        one = self.address
        files = {"ca": one.ssl_ca, "cert": one.ssl_cert, "key": one.ssl_key}
        tls = {"ssl": {name: file for name, file in files.items() if file}, "ssl_mode": "VERIFY_IDENTITY"}
        where: dict[str, object] = {"unix_socket": one.socket} if one.socket else {"host": one.host, "port": one.port}
        try:
            raw = self._module.connect(
                **where,
                user=one.user,
                password=one.password,
                database=one.database,
                conv=_CONVERTERS,
                charset="utf8mb4",
                client_flag=_FOUND_ROWS,
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=_SILENT_SECONDS,
                write_timeout=_SILENT_SECONDS,
                **(tls if one.ssl_ca else {}),
            )
        except self._module.Error as error:
            if code_of(error) in _NO_ACCESS:
                raise _no_access(one, error) from error
            raise
        return raw

    def _settings(self, read_only: bool) -> list[str]:
        modes = f"{_MODES},SIMULTANEOUS_ASSIGNMENT" if self.is_mariadb else _MODES
        level = "REPEATABLE READ, READ ONLY" if read_only else "READ COMMITTED"
        # A node that is stopped in the middle of a transaction must not hold its locks until it wakes: others would be fenced.
        idle = [f"idle_transaction_timeout = {_IDLE_SECONDS}"] if self.is_mariadb and not read_only else []
        return [
            *idle,
            f"sql_mode = '{modes}'",
            f"TRANSACTION ISOLATION LEVEL {level}",
            f"innodb_lock_wait_timeout = {_LOCK_WAIT_SECONDS}",
            "foreign_key_checks = 1",
            "autocommit = 0",
        ]

    def tables(self, schema: Schema) -> list[str]:
        """Each table with its indexes. References to tables that come later are taken."""
        own = Schema([CommitMark])
        wanted = {**own.metadata.tables, **schema.metadata.tables}
        made = [self._table(table) for table in wanted.values()]
        return ["SET SESSION foreign_key_checks = 0", *made, "SET SESSION foreign_key_checks = 1"]

    def _table(self, table: Table) -> str:
        text = str(CreateTable(table, if_not_exists=True).compile(dialect=self.dialect)).rstrip().removesuffix(")")
        for index in sorted(table.indexes, key=lambda one: str(one.name)):
            add = str(CreateIndex(index).compile(dialect=self.dialect))
            unique, name, columns = cast("re.Match[str]", _INDEX.match(add)).groups()
            text += f", {unique or ''}KEY {name} {columns}"
        return with_short_names(text + ")")

    def trouble(self, error: BaseException) -> tuple[Trouble, str] | None:
        """Classify an error by the server's number."""
        if isinstance(error, _Stopped):
            return Trouble.STOPPED, ""
        if isinstance(error, OverflowError):
            return Trouble.OTHER, str(error)
        code = code_of(error)
        if code == 0:
            return None
        text = str(error.args[1]) if len(error.args) > 1 else ""
        found = _TROUBLES.get(code, Trouble.OTHER)
        if found is Trouble.DUPLICATE:
            key = _DUPLICATE_KEY.search(text)
            return found, f"{KEY_NAME}{key[1]}" if key else ""
        if found is Trouble.NULL:
            column = _COLUMN.search(text)
            return found, f".{column[1]}" if column else ""
        return found, "" if found is Trouble.REFERENCE else f"{text} ({code})"

    def close(self) -> None:
        """Nothing is left."""


def allow_long_names(dialect: Dialect) -> None:
    """Leave it to `names.with_short_names` to cut them."""
    dialect.max_identifier_length = dialect.max_index_name_length = dialect.max_constraint_name_length = 255


#: so long may a transaction that writes do nothing; less than nodes wait for a heartbeat
_IDLE_SECONDS = 2
_FOUND_ROWS = 2  #: an UPDATE counts the rows that it found, even if they had the values already


def _whole(value: int) -> bytes:
    if not -(1 << 63) <= value < 1 << 63:
        raise OverflowError(f"{value} does not fit into 64 bits")
    return b"%d" % value


def _lock_name(connection: str) -> str:
    return f"cairn:{connection}"


def _forget_old_marks(raw: Raw) -> None:
    with suppress(Exception):  # a database without the table yet
        raw.query(f"DELETE FROM commit_mark WHERE marked_seconds < UNIX_TIMESTAMP() - {_MARKS_KEPT_SECONDS}".encode())  # noqa: S608 (a number)
    raw.query(b"COMMIT")


def _no_access(address: ServerAddress, error: BaseException) -> CairnError:
    return CairnError(
        "store.no-access",
        "The database server refuses cairn: the user, the password or the name of the database does not fit. Correct "
        "CAIRN_DATABASE, or create the database and its user and grant it all on that database.",
        kind=ErrorKind.UNAVAILABLE,
        operator=f"{address}: {error.args[1] if len(error.args) > 1 else code_of(error)}",
    )
