"""A transaction, as the functions given to `Store.write` and `Store.read` see it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NoReturn, TypeVar

from sqlalchemy import Delete, Insert, Select, Update

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.store.driver import KEY_NAME, Connection, Driver, Row, Trouble
from cairn.kernel.store.record import Record, RecordInfo, SqlValue, info
from cairn.kernel.store.remembered import Changes
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.statements import Statements
from cairn.kernel.store.trouble import explain

T = TypeVar("T", bound=Record)


class Tx:
    """One transaction. Valid only inside the function it was given to.

    The function must do nothing but use it: it may be run again after a deadlock or a lost connection, and what
    it does elsewhere is not undone. Keyword arguments are fields; a list (tuple, set) as value means "one of", None
    means null.

    Raises (all methods that change something):
        CairnError: ``store.duplicate`` (a key or unique field is taken), ``store.reference`` (a row that is pointed to
            is missing, or one that others point to was to be deleted), ``store.null``, ``store.full`` (disk full),
            ``store.read-only`` (inside `Store.read`), ``store.unknown-field``.
    """

    __slots__ = ("_after", "_connection", "_driver", "_statements", "changes", "now", "schema", "writable")

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

    def insert(self, record: Record) -> None:
        """Add one row (``store.duplicate`` when its key or a unique value is taken)."""
        statement = self._statements.insert(type(record))
        self._change(statement.sql, statement.values(record), type(record), [record])

    def insert_many(self, records: Iterable[Record]) -> None:
        """Add rows, of one class or several, in the order given."""
        waiting: list[Record] = []
        for record in records:
            if waiting and type(record) is not type(waiting[0]):
                self._insert_alike(waiting)
                waiting = []
            waiting.append(record)
        self._insert_alike(waiting)

    def get(self, type_: type[T], key: str | int) -> T | None:
        """The row with this key; None if there is none."""
        statement = self._statements.get(type_)
        row = self._connection.fetch_one(statement.sql, (key,))
        return None if row is None else statement.make(row)

    def find(
        self,
        type_: type[T],
        *,
        order_by: str | None = None,
        descending: bool = False,
        limit: int | None = None,
        **equal: object,
    ) -> list[T]:
        """The rows whose fields have these values, in no order unless `order_by` names a field."""
        return self._find(type_, equal, order_by, descending, limit)

    def count(self, type_: type[Record], **equal: object) -> int:
        """How many rows have these values."""
        found = self._statements.count(type_, equal)
        return 0 if found is None else int(self.fetch(*found)[0][0] or 0)

    def update(self, type_: type[Record], key: str | int, /, **values: object) -> int:
        """Set fields of the row with this key; 1 if there is one, else 0."""
        return self.update_where(type_, {info(type_).key.name: key}, **values)

    def update_where(self, type_: type[Record], where: Mapping[str, object], /, **values: object) -> int:
        """Set fields of all rows that fit `where`, and return how many there are."""
        found = self._statements.update(type_, where, values)
        return 0 if found is None else self._change(*found, type_, [values])

    def delete(self, type_: type[Record], key: str | int) -> int:
        """Delete the row with this key; 1 if there was one, else 0."""
        return self.delete_where(type_, **{info(type_).key.name: key})

    def delete_where(self, type_: type[Record], **equal: object) -> int:
        """Delete all rows with these values (no values: all rows), and return how many there were."""
        found = self._statements.delete(type_, equal)
        return 0 if found is None else self._change(*found, type_, [], deleting=equal)

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
        self.changes.of[str(getattr(statement.table, "name", ""))] += 1
        return self._change(sql, values, None, [])

    def after_commit(self, call: Callable[[], object]) -> None:
        """Call this on the event loop once the commit is durable; not at all if the transaction is rolled back."""
        self._after.append(call)

    def fetch(self, sql: str, values: Sequence[SqlValue]) -> list[Row]:
        """The rows of a query given as text, values as the database has them. For the query engine."""
        return self._connection.fetch(sql, values)

    def fetch_within(self, sql: str, values: Sequence[SqlValue], steps: int) -> list[Row] | None:
        """As `fetch`; None if it takes more than about that many steps of the database's machine (25 million a second)."""
        return self._connection.fetch_within(sql, values, steps)

    def take_after_commit(self) -> list[Callable[[], object]]:
        """The functions to call after the commit, which are then forgotten. For the store."""
        return self._after

    def _find(
        self,
        type_: type[T],
        equal: Mapping[str, object],
        order_by: str | None = None,
        descending: bool = False,
        limit: int | None = None,
    ) -> list[T]:
        found = self._statements.find(type_, equal, order_by, descending, limit is not None)
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
        statement = self._statements.insert(type(records[0]))
        self.changes.of[type(records[0]).meta.table] += 1
        try:
            self._connection.execute_many(statement.sql, [statement.values(record) for record in records])
        except Exception as error:  # noqa: BLE001 (translated, or raised again)
            self._fail(error, info(type(records[0])), records, None)

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
