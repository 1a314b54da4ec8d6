"""A transaction, as the functions given to `Store.write` and `Store.read` see it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NoReturn, TypeVar

from sqlalchemy import Delete, Insert, Select, Update

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.store.driver import KEY_NAME, Connection, Driver, Row, Trouble
from cairn.kernel.store.invalidation import Invalidation, Touched, keys_of, rows_of
from cairn.kernel.store.numbering import LateRow
from cairn.kernel.store.record import Record, RecordInfo, SqlValue, info
from cairn.kernel.store.remembered import Changes
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.statements import Statements, TooLong, in_parts
from cairn.kernel.store.trouble import explain, overtaken

T = TypeVar("T", bound=Record)


class Tx:
    """One transaction. Valid only inside the function it was given to.

    The function must do nothing but use it: it may be run again after a deadlock or a lost connection, and what
    it does elsewhere is not undone. Keyword arguments are fields; a list (tuple, set) as value means "one of", None
    means null.

    Others write meanwhile, where the database takes several writers: what is read is what was committed then, and may be
    another thing when the function writes. `lock`, `update_seen` and unique fields are what can be relied on
    (docs/concurrency.md). A function that fails with ``store.duplicate``, ``store.reference`` or ``store.overtaken`` may have
    been overtaken, so it is run once more, or a few times, before its caller is told.

    Raises (all methods that change something):
        CairnError: ``store.duplicate`` (a key or unique field is taken), ``store.reference`` (a row that is pointed to
            is missing, or one that others point to was to be deleted), ``store.null``, ``store.full`` (disk full),
            ``store.read-only`` (inside `Store.read`), ``store.unknown-field``.
    """

    __slots__ = (
        "_after",
        "_connection",
        "_driver",
        "_late",
        "_statements",
        "_touched",
        "changes",
        "now",
        "schema",
        "writable",
    )

    def __init__(
        self,
        connection: Connection,
        driver: Driver,
        schema: Schema,
        statements: Statements,
        now: datetime,
        changes: Changes,
        *,
        writable: bool,
    ) -> None:
        self.changes = changes  #: counts what is written; for `Remembered`
        self.writable = writable
        self.now = now  #: from the node's clock, the same all through the transaction
        self._connection = connection
        self._driver = driver
        self.schema = schema
        self._statements = statements
        self._after: list[Callable[[], object]] = []
        self._late: list[LateRow] = []
        self._touched: set[Touched] = set()

    def insert(self, record: Record) -> None:
        """Add one row (``store.duplicate`` when its key or a unique value is taken).

        A row of a log is written when the transaction ends: nothing finds it before.
        """
        type_ = type(record)
        statement = self._statements.insert(type_)
        if statement.late:
            self._insert_late(type_, statement.values(record))
            return
        self._change(statement.sql, statement.values(record), type_, [record])
        if self.schema.remembered.get(type_.meta.table) is True:
            self._touch_row(type_, getattr(record, info(type_).key.name))

    def insert_many(self, records: Iterable[Record]) -> None:
        """Add rows, of one class or several, in the order given."""
        waiting: list[Record] = []
        for record in records:
            if waiting and type(record) is not type(waiting[0]):
                self._insert_alike(waiting)
                waiting = []
            waiting.append(record)
        self._insert_alike(waiting)

    def get(self, type_: type[T], key: str | int, *, lock: bool = False) -> T | None:
        """The row with this key; None if there is none.

        Args:
            lock: nobody else changes or deletes it, or makes a row that refers to it, before this transaction has ended; who
                holds it is waited for first. Without effect where there is no row, and in a function that only reads.
        """
        statement = self._statements.get(type_, lock=lock and self.writable)
        row = self._connection.fetch_one(statement.sql, (key,))
        return None if row is None else statement.make(row)

    def find(
        self,
        type_: type[T],
        *,
        order_by: str | None = None,
        descending: bool = False,
        limit: int | None = None,
        lock: bool = False,
        **equal: object,
    ) -> list[T]:
        """The rows whose fields have these values, in no order unless `order_by` names a field. Without order and limit a list of
        values may be of any length.

        Args:
            lock: these rows, as `get` does. Rows that do not fit, or are not there yet, are not locked.
        """
        lock = lock and self.writable
        try:
            return self._find(type_, equal, order_by, descending, limit, lock)
        except TooLong:
            if order_by is not None or limit is not None:
                raise
            return [row for part in in_parts(equal) for row in self._find(type_, part, lock=lock)]

    def count(self, type_: type[Record], **equal: object) -> int:
        """How many rows have these values."""
        try:
            found = self._statements.count(type_, equal)
        except TooLong:
            return sum(self.count(type_, **part) for part in in_parts(equal))
        return 0 if found is None else int(self.fetch(*found)[0][0] or 0)

    def update(self, type_: type[Record], key: str | int, /, **values: object) -> int:
        """Set fields of the row with this key; 1 if there is one, else 0."""
        return self.update_where(type_, {info(type_).key.name: key}, **values)

    def update_seen(self, row: Record, seen: Sequence[str], /, **values: object) -> None:
        """Set fields of a row that was read before, as long as its fields named in `seen` are still as they were read.

        Raises:
            CairnError: ``store.overtaken``: they are not, or the row is gone. Let it pass: the function is run again.
        """
        here = info(type(row))
        where = {name: getattr(row, name) for name in (here.key.name, *seen)}
        if not self.update_where(type(row), where, **values):
            raise overtaken(here.meta.table)

    def update_where(self, type_: type[Record], where: Mapping[str, object], /, **values: object) -> int:
        """Set fields of all rows that fit `where`, and return how many there are."""
        try:
            found = self._statements.update(type_, where, values)
        except TooLong:
            return sum(self.update_where(type_, part, **values) for part in in_parts(where))
        if found is None:
            return 0
        changed = self._change(*found, type_, [values])
        told = self.schema.remembered.get(type_.meta.table)
        if told and changed and (told is True or not told.isdisjoint(values)):
            self._touch(type_.meta.table, keys_of(info(type_), where))
        return changed

    def delete(self, type_: type[Record], key: str | int) -> int:
        """Delete the row with this key; 1 if there was one, else 0."""
        return self.delete_where(type_, **{info(type_).key.name: key})

    def delete_where(self, type_: type[Record], **equal: object) -> int:
        """Delete all rows with these values (no values: all rows), and return how many there were."""
        try:
            found = self._statements.delete(type_, equal)
        except TooLong:
            return sum(self.delete_where(type_, **part) for part in in_parts(equal))
        if found is None:
            return 0
        gone = self._change(*found, type_, [], deleting=equal)
        if gone:
            self._touch_deleted(type_.meta.table, keys_of(info(type_), equal))
        return gone

    def rows(
        self, statement: Select[*tuple[object, ...]], params: Mapping[str, object] | None = None
    ) -> list[tuple[object, ...]]:
        """The rows of a SQLAlchemy query, values as Python has them (enumerations as text).

        Keep the statement (module level, `bindparam` for values): it is compiled once per object.
        """
        compiled = self._statements.compiled(statement)
        sql, values = compiled.bind(params or {})
        return compiled.decode(self.fetch(sql, values))

    def execute(self, statement: Update | Insert | Delete, params: Mapping[str, object] | None = None) -> int:
        """Run a SQLAlchemy statement and return how many rows it changed.

        For claims: ``update(t).values(available=t.c.available - bindparam("need")).where(t.c.available >=
        bindparam("need"))`` changes 1 row or, if there is not enough, 0. Keep the statement, as for `rows`.
        """
        compiled = self._statements.compiled(statement)
        sql, values = compiled.bind(params or {})
        table = compiled.table
        self.changes.of[table] += 1
        changed = self._change(sql, values, None, [])
        if isinstance(statement, Delete):
            if changed:
                self._touch_deleted(table, [None])
            return changed
        told = self.schema.remembered.get(table)
        if told and changed and (told is True or not told.isdisjoint(compiled.written)):
            self._touch(table, [None])
        return changed

    def tell(self, type_: type[Record], key: str | int) -> None:
        """Have other nodes forget what they remember of a row, of a record whose changes are not told by themselves."""
        self._touch_row(type_, key)

    def after_commit(self, call: Callable[[], object]) -> None:
        """Call this on the event loop once the commit is durable; not at all if the transaction is rolled back."""
        self._after.append(call)

    def fetch(self, sql: str, values: Sequence[SqlValue]) -> list[Row]:
        """The rows of a query given as text, values as the database has them. For the query engine."""
        return self._connection.fetch(sql, values)

    def fetch_within(self, sql: str, values: Sequence[SqlValue], steps: int) -> list[Row] | None:
        """As `fetch`; None if it takes more than about that many steps of the database's machine (25 million a second)."""
        return self._connection.fetch_within(sql, values, steps)

    @property
    def tells(self) -> bool:
        """Whether something was changed until now that other nodes may remember."""
        return bool(self._touched)

    def take_after_commit(self) -> list[Callable[[], object]]:
        """The functions to call after the commit, which are then forgotten. For the store."""
        return self._after

    def take_late(self) -> list[LateRow]:
        """The rows that are to be written when the transaction ends, in their order. For the store."""
        if self._touched:
            rows = rows_of(self._touched, self.now)
            self._touched = set()
            statement = self._statements.insert(Invalidation)
            self._late += [LateRow(Invalidation, statement.values(row)) for row in rows]
        return self._late

    def _insert_late(self, type_: type[Record], values: list[SqlValue]) -> None:
        self._check_writable()
        self.changes.of[type_.meta.table] += 1
        self._late.append(LateRow(type_, values))

    def _touch_row(self, type_: type[Record], key: object) -> None:
        self._touch(type_.meta.table, [str(key)])

    def _touch(self, table: str, keys: Iterable[str | None]) -> None:
        if self.schema.tells:
            self._touched.update((table, key) for key in keys)

    def _touch_deleted(self, table: str, keys: Iterable[str | None]) -> None:
        """Rows were deleted, and others along with them."""
        if table in self.schema.remembered:
            self._touch(table, keys)
        for other in self.schema.changed_along.get(table, ()):
            self.changes.of[other] += 1
            self._touch(other, [None])

    def _find(
        self,
        type_: type[T],
        equal: Mapping[str, object],
        order_by: str | None = None,
        descending: bool = False,
        limit: int | None = None,
        lock: bool = False,
    ) -> list[T]:
        found = self._statements.find(type_, equal, order_by, descending, limit is not None, lock)
        if found is None:
            return []
        statement, values = found
        make = statement.make
        return [make(row) for row in self.fetch(statement.sql, values if limit is None else [*values, limit])]

    def _insert_alike(self, records: list[Record]) -> None:
        if not records:
            return
        if len(records) == 1:
            self.insert(records[0])
            return
        self._check_writable()
        type_ = type(records[0])
        statement = self._statements.insert(type_)
        if statement.late:
            for record in records:
                self._insert_late(type_, statement.values(record))
            return
        self.changes.of[type_.meta.table] += 1
        if self.schema.remembered.get(type_.meta.table) is True:
            self._touch(type_.meta.table, (str(getattr(record, info(type_).key.name)) for record in records))
        try:
            self._connection.execute_many(statement.sql, [statement.values(record) for record in records])
        except Exception as error:  # noqa: BLE001 (translated, or raised again)
            self._fail(error, info(type_), records, None)

    def _change(
        self,
        sql: str,
        values: Sequence[SqlValue],
        type_: type[Record] | None,
        written: Sequence[Record | Mapping[str, object]],
        deleting: Mapping[str, object] | None = None,
    ) -> int:
        if not self.writable:
            self._check_writable()
        if type_ is not None:
            self.changes.of[type_.meta.table] += 1
        try:
            return self._connection.execute(sql, values)
        except Exception as error:  # noqa: BLE001 (translated, or raised again)
            self._fail(error, None if type_ is None else info(type_), written, deleting)

    def _check_writable(self) -> None:
        if not self.writable:
            raise CairnError(
                "store.read-only",
                "a function given to Store.read changes data; give it to Store.write.",
                kind=ErrorKind.INTERNAL,
            )

    def _fail(
        self,
        error: Exception,
        record: RecordInfo | None,
        written: Sequence[Record | Mapping[str, object]],
        deleting: Mapping[str, object] | None,
    ) -> NoReturn:
        found = self._driver.trouble(error)
        if found is None:
            raise error
        trouble, about = found
        if about.startswith(KEY_NAME):
            about = self._columns_of(about.removeprefix(KEY_NAME), record)
        missing = trouble is Trouble.REFERENCE and record is not None and self._connection.in_transaction
        where = self._broken_reference(record, written, deleting) if missing and record is not None else ""
        raise explain(trouble, about or where, record) from error

    def _columns_of(self, key: str, record: RecordInfo | None) -> str:
        """The columns of a unique key, by the name that the database has for it; "" if nothing is known."""
        if key == "PRIMARY":
            return "" if record is None else f"{record.meta.table}.{record.key.name}"
        return self.schema.unique_keys.get(key, "")

    def _broken_reference(
        self,
        record: RecordInfo,
        written: Sequence[Record | Mapping[str, object]],
        deleting: Mapping[str, object] | None,
    ) -> str:
        """The field that points to nothing, or the table that points to what was to be deleted; "" if unclear."""
        if deleting is not None:
            users = [
                f"{other.meta.table}.{field.name}"
                for other, field in self.schema.referring_to(record)
                if self._in_use(record, other, field.name, deleting)
            ]
            return ", ".join(users)
        for field in record.fields:
            if field.reference is None:
                continue
            target = self.schema.target(record.record, field.reference)
            for one in written:
                value: object = one.get(field.name) if isinstance(one, Mapping) else getattr(one, field.name)
                if value is not None and not self._find(target.record, {target.key.name: value}, limit=1):
                    return f"{record.meta.table}.{field.name}={value}"
        return ""

    def _in_use(self, record: RecordInfo, other: RecordInfo, field: str, deleting: Mapping[str, object]) -> bool:
        keys = [getattr(row, record.key.name) for row in self._find(record.record, deleting, limit=1000)]
        return bool(self._find(other.record, {field: keys}, limit=1))
