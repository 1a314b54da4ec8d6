"""SQLite: write-ahead log, every commit flushed, foreign keys on."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Dialect
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from cairn.kernel.store.driver import Connection, Mark, Row, Trouble
from cairn.kernel.store.record import SqlValue
from cairn.kernel.store.schema import Schema

_STATEMENTS_KEPT = 1024
_BUSY_MILLISECONDS = 10_000
_WRITER_CACHE_KIB = 32 * 1024
_READER_CACHE_KIB = 8 * 1024
_CHECKPOINT_PAGES = 4000
_ANALYZED_ROWS = 1000
#: between two looks at whether a statement is to be broken off: a millisecond, about
_STEPS_BETWEEN_LOOKS = 25_000


class SqliteConnection:
    """A connection of the standard library whose transactions we begin and end ourselves."""

    interrupted: BaseException | None = None  #: nothing interrupts a transaction here
    doubtful: Mark | None = None  #: a commit is made or it fails

    def __init__(self, connection: sqlite3.Connection, *, read_only: bool) -> None:
        self._connection = connection
        self._begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"
        self._execute = connection.execute
        self._execute_many = connection.executemany
        self._due: Callable[[], bool] | None = None

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, as SQLite itself knows it."""
        return self._connection.in_transaction

    def begin(self) -> None:
        """A writer waits here, at most `_BUSY_MILLISECONDS`, for another process that writes."""
        self._execute(self._begin)

    def commit(self) -> None:
        """Commit; when this returns the changes are flushed to the disk."""
        self._execute("COMMIT")

    def committed(self, mark: Mark) -> bool:
        """No commit is ever in doubt."""
        raise NotImplementedError

    def rollback(self) -> None:
        """Give up the transaction; does nothing if none is open."""
        if self._connection.in_transaction:
            self._execute("ROLLBACK")

    def savepoint(self) -> None:
        """Mark this place. There is one mark at a time, so its name is fixed."""
        self._execute("SAVEPOINT one")

    def release(self) -> None:
        """Forget the mark; what was done since stays part of the transaction."""
        self._execute("RELEASE one")

    def rollback_to_savepoint(self) -> None:
        """Undo what was done since the mark, and forget it."""
        self._execute("ROLLBACK TO one")
        self._execute("RELEASE one")

    def execute(self, sql: str, values: Sequence[SqlValue]) -> int:
        """Run a statement and return how many rows it changed."""
        return self._execute(sql, values).rowcount

    def execute_many(self, sql: str, values: Iterable[Sequence[SqlValue]]) -> int:
        """Run a statement once per set of values and return how many rows it changed in all."""
        return self._execute_many(sql, values).rowcount

    def fetch(self, sql: str, values: Sequence[SqlValue]) -> list[Row]:
        """Run a query and read all of its rows at once."""
        return self._execute(sql, values).fetchall()

    def fetch_one(self, sql: str, values: Sequence[SqlValue]) -> Row | None:
        """Run a query and read its first row; the cursor is closed, so that it holds no lock."""
        cursor = self._execute(sql, values)
        row: Row | None = cursor.fetchone()
        cursor.close()
        return row

    def fetch_within(self, sql: str, values: Sequence[SqlValue], steps: int) -> list[Row] | None:
        """As `fetch`; None if it takes more than about that many instructions of SQLite's machine."""
        looks = 0
        due = self._due

        def enough() -> bool:
            nonlocal looks
            looks += 1
            return looks > steps // _STEPS_BETWEEN_LOOKS or (due is not None and due())

        self.stop_when(enough)
        try:
            return self._execute(sql, values).fetchall()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT or (due is not None and due()):
                raise
            return None
        finally:
            self.stop_when(due)

    def stop_when(self, due: Callable[[], bool] | None, seconds: float | None = None) -> None:
        """Break off statements as soon as `due` says so; it is asked between instructions of SQLite's machine."""
        self._due = due
        self._connection.set_progress_handler(due, _STEPS_BETWEEN_LOOKS)

    def optimize(self) -> None:
        """Analyze tables that changed much, looking at some of their rows only."""
        self._execute("PRAGMA optimize")

    def columns(self) -> dict[str, set[str]]:
        """All tables but SQLite's own, each with its columns."""
        found: dict[str, set[str]] = {}
        asked = (
            "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c "
            "WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'"
        )
        for table, column in self._execute(asked).fetchall():
            found.setdefault(table, set()).add(column)
        return found

    def references(self) -> dict[str, set[str]]:
        """As the tables declare them."""
        found: dict[str, set[str]] = {}
        asked = (
            "SELECT t.name, f.\"table\" FROM sqlite_schema t, pragma_foreign_key_list(t.name) f WHERE t.type = 'table'"
        )
        for table, other in self._execute(asked).fetchall():
            found.setdefault(table, set()).add(other)
        return found

    def watch_references(self, watch: bool) -> None:
        """SQLite does so as long as it is told to."""
        self._execute(f"PRAGMA foreign_keys={'ON' if watch else 'OFF'}")

    def damage(self) -> list[str]:
        """SQLite's own check of pages, indexes, types and constraints; at most a hundred findings."""
        found = [str(row[0]) for row in self._execute("PRAGMA integrity_check").fetchall()]
        return [] if found == ["ok"] else found

    def last_numbers(self) -> dict[str, int]:
        """As SQLite notes it for tables that never give a number twice."""
        if not self._execute("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'").fetchall():
            return {}
        return {
            str(name): int(number) for name, number in self._execute("SELECT name, seq FROM sqlite_sequence").fetchall()
        }

    def leave_no_traces(self) -> None:
        """Overwrite with zeros what is deleted."""
        self._execute("PRAGMA secure_delete=ON").fetchall()

    def remove_traces(self) -> None:
        """Write the file anew, so that nothing of what was there before is left in it or beside it."""
        self._execute("VACUUM")
        self._execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def content(self) -> bytes:
        """The whole database, as `SqliteDriver` takes it; between transactions."""
        return self._connection.serialize()

    def close(self) -> None:
        """Close the connection; SQLite rolls back what was not committed."""
        self._connection.close()


class SqliteDriver:
    """A database file, or a private one that is gone when closed (`path` None).

    Args:
        path: the file; made if missing, its folder must exist.
        shared: with `path` None: several connections see the same (a temporary file); else one in memory.
        content: of the one in memory, at first.
    """

    row_order: str | None = "rowid"
    near = True
    readers = 2
    writers = 1

    def __init__(self, path: Path | None, *, shared: bool = False, content: bytes | None = None) -> None:
        self.dialect: Dialect = SQLiteDialect_pysqlite(paramstyle="qmark")
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._durable = path is not None
        if path is None and shared:
            self._folder = tempfile.TemporaryDirectory(prefix="cairn-store-")
            path = Path(self._folder.name) / "store.db"
        self._path = path
        self._content = content
        self._connected = False
        self.private = path is None
        self.one_writer = True

    def connect(self, *, read_only: bool) -> Connection:
        """A connection tuned for its use."""
        raw = sqlite3.connect(
            self._name(),
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_STATEMENTS_KEPT,
            timeout=0,
            uri=True,
        )
        try:
            if self._content is not None:
                raw.deserialize(self._content)
            for pragma in self._pragmas(read_only):
                raw.execute(f"PRAGMA {pragma}")
        except BaseException:
            raw.close()
            raise
        self._connected = True
        return SqliteConnection(raw, read_only=read_only)

    def _name(self) -> str:
        if self._path is None:
            return ":memory:"
        # A file that was taken away under a running node must not come back empty.
        return f"file:{quote(str(self._path.absolute()))}?mode={'rw' if self._connected else 'rwc'}"

    def _pragmas(self, read_only: bool) -> list[str]:
        cache = _READER_CACHE_KIB if read_only else _WRITER_CACHE_KIB
        return [
            f"busy_timeout={_BUSY_MILLISECONDS}",
            "foreign_keys=ON",
            "journal_mode=WAL",
            f"synchronous={'FULL' if self._durable else 'OFF'}",
            f"cache_size=-{cache}",
            "temp_store=MEMORY",
            f"wal_autocheckpoint={_CHECKPOINT_PAGES}",
            f"analysis_limit={_ANALYZED_ROWS}",
            f"query_only={'ON' if read_only else 'OFF'}",
        ]

    def tables(self, schema: Schema) -> list[str]:
        """Each table, and its indexes behind it."""
        made: list[str] = []
        for table in schema.metadata.tables.values():
            made.append(str(CreateTable(table, if_not_exists=True).compile(dialect=self.dialect)))
            made += [
                str(CreateIndex(index, if_not_exists=True).compile(dialect=self.dialect)) for index in table.indexes
            ]
        return made

    def trouble(self, error: BaseException) -> tuple[Trouble, str] | None:
        """Classify an error by SQLite's own result codes."""
        if isinstance(error, OverflowError):
            return Trouble.OTHER, str(error)
        if not isinstance(error, sqlite3.Error):
            return None
        code = getattr(error, "sqlite_errorcode", 0) or 0
        about = str(error).partition("failed: ")[2]
        if code in (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY):
            return Trouble.DUPLICATE, about
        if code in (sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY, sqlite3.SQLITE_CONSTRAINT_TRIGGER):
            return Trouble.REFERENCE, ""
        if code == sqlite3.SQLITE_CONSTRAINT_NOTNULL:
            return Trouble.NULL, about
        primary = {
            sqlite3.SQLITE_FULL: Trouble.FULL,
            sqlite3.SQLITE_READONLY: Trouble.READ_ONLY,
            sqlite3.SQLITE_BUSY: Trouble.BUSY,
            sqlite3.SQLITE_LOCKED: Trouble.BUSY,
            sqlite3.SQLITE_IOERR: Trouble.BROKEN,
            sqlite3.SQLITE_CORRUPT: Trouble.BROKEN,
            sqlite3.SQLITE_NOTADB: Trouble.BROKEN,
            sqlite3.SQLITE_CANTOPEN: Trouble.BROKEN,
            sqlite3.SQLITE_INTERRUPT: Trouble.STOPPED,
        }
        return primary.get(code & 0xFF, Trouble.OTHER), str(error)

    def close(self) -> None:
        """Remove the temporary file of a private database."""
        if self._folder is not None:
            self._folder.cleanup()
