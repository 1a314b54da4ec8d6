"""Looks for what should not be in a database, and says what to do about it. It changes nothing.

What every database of records promises is looked at here: the database itself, its tables, references, resources, subtypes,
seals. What a service promises of its own rows (that claims add up to what is taken) it declares as an `Audit` in one of its
modules, where it is found, as settings are::

    BOOKS = Audit("host capacity", "Reconnect the host (ReconnectHost): it is summed up anew.", wrong_hosts)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice

from msgspec import Struct

from cairn.kernel.error import CairnError
from cairn.kernel.store.driver import Connection, Driver
from cairn.kernel.store.dump import pages
from cairn.kernel.store.record import Kind, Named, RecordInfo, References, SqlValue
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.seal import Seals
from cairn.kernel.store.tx import Tx

#: of each kind so many are told; what is behind them is seen when these are put right
_MOST = 20
#: how the tables begin that scripts are counted in
_SCRIPTS = ("alembic_version_", "migration_underway")


class Finding(Struct, frozen=True, kw_only=True):
    """Something that should not be."""

    check: str
    what: str
    do: str


class Audit(Struct, frozen=True):
    """A promise of a service about its rows.

    Args:
        name: of what is looked at, in words.
        do: what to do about what is found, in a sentence.
        look: finds what is wrong, a sentence each. It reads by indexes or in order of keys, as there may be many rows.
    """

    name: str
    do: str
    look: Callable[[Tx], Iterable[str]]


class Health:
    """Looks at the rows of one database, by a connection that only reads, in one transaction."""

    def __init__(self, connection: Connection, driver: Driver, schema: Schema, seals: Seals) -> None:
        self._connection = connection
        self._schema = schema
        self._driver = driver
        self._seals = seals
        self._quote = driver.dialect.identifier_preparer.quote

    def checks(self, tx: Tx, audits: Iterable[Audit]) -> Iterator[tuple[str, Iterator[Finding]]]:
        """The checks, by name; each looks when its findings are asked for."""
        yield "references", self._references()
        yield "resources", self._resources()
        yield "subtypes", self._subtypes()
        yield "secrets", self._secrets()
        for audit in audits:
            yield audit.name, self._audit(audit, tx)

    # -- references ---------------------------------------------------------------------------------------------------

    def _references(self) -> Iterator[Finding]:
        for record in self._schema.by_table.values():
            for field in record.fields:
                reference = field.reference
                if field.key is not None and reference is None and record.meta.extends is not None:
                    reference = References(record.meta.extends.parent)
                if reference is not None:
                    target = self._schema.target(record.record, reference)
                    yield from self._dangling(record, field.name, target)

    def _dangling(self, record: RecordInfo, field: str, target: RecordInfo) -> Iterator[Finding]:
        q = self._quote
        table, there = q(record.meta.table), q(target.meta.table)
        lost = (
            f"SELECT c.{q(record.key.name)}, c.{q(field)} FROM {table} c LEFT JOIN {there} p "  # noqa: S608 (declared names)
            f"ON p.{q(target.key.name)} = c.{q(field)} WHERE c.{q(field)} IS NOT NULL AND p.{q(target.key.name)} IS NULL "
            f"LIMIT {_MOST}"
        )
        for key, value in self._connection.fetch(lost, ()):
            yield Finding(
                check="references",
                what=f"{record.meta.table} {_shown(key)}: {field} points to {target.meta.table} {_shown(value)}, "
                "which is not there.",
                do="Rows were removed behind cairn's back. Restore a backup, or remove this row as well.",
            )

    # -- resources ------------------------------------------------------------------------------------------------------

    def _resources(self) -> Iterator[Finding]:
        """Each resource has two rows, but for one whose creation has been accepted and has not ended."""
        by_table = self._schema.by_table
        if "resource" not in by_table:
            return
        for record in by_table.values():
            if not issubclass(record.record, Named) or record.meta.extends is not None:
                continue
            for key in self._without(record.meta.table, record.key.name, "resource", "uuid", ""):
                yield Finding(
                    check="resources",
                    what=f"{record.meta.table} {key} has no row in resource: it has no tags, and its uuid may be given again.",
                    do="It was inserted behind cairn's back. Remove it by hand, or restore a backup.",
                )
            condition = "c.type = ?"
            if "job" in by_table:
                condition += " AND NOT EXISTS (SELECT 1 FROM job j WHERE j.uuid = c.job_uuid AND j.finish_date IS NULL)"
            values = (record.meta.entity or "",)
            for key in self._without("resource", "uuid", record.meta.table, record.key.name, condition, values):
                yield Finding(
                    check="resources",
                    what=f"The {record.title} {key} is known as a resource, and is not there; no job is making it.",
                    do="Its uuid stays taken, no more. Remove its row of the table resource by hand.",
                )

    def _subtypes(self) -> Iterator[Finding]:
        for record in self._schema.by_table.values():
            extends = record.meta.extends
            if extends is None:
                continue
            parent = self._schema.resolve(record.record, extends.parent)
            q = self._quote
            found = self._without(
                parent.meta.table,
                parent.key.name,
                record.meta.table,
                record.key.name,
                f"c.{q(extends.column)} = ?",
                (extends.value,),
            )
            for key in found:
                yield Finding(
                    check="subtypes",
                    what=f"{parent.meta.table} {key} is of the type {extends.value}, and has no row in {record.meta.table}.",
                    do=f"Its plugin cannot use it. Delete the {parent.title} by force, or restore a backup.",
                )

    def _without(
        self, table: str, key: str, other: str, other_key: str, condition: str, values: tuple[str, ...] = ()
    ) -> Iterator[str]:
        """The keys of rows (`c`) that have none in another table."""
        q = self._quote
        sql = (
            f"SELECT c.{q(key)} FROM {q(table)} c LEFT JOIN {q(other)} p ON p.{q(other_key)} = c.{q(key)} "  # noqa: S608 (declared names)
            f"WHERE p.{q(other_key)} IS NULL{f' AND {condition}' if condition else ''} LIMIT {_MOST}"
        )
        for row in self._connection.fetch(sql, values):
            yield str(row[0])

    # -- secrets ----------------------------------------------------------------------------------------------------------

    def _secrets(self) -> Iterator[Finding]:
        for record in self._schema.by_table.values():
            sealed = [field for field in record.fields if field.sealed]
            for field in sealed:
                yield from islice(self._closed(record, field.name, field.kind is Kind.BYTES), _MOST)

    def _closed(self, record: RecordInfo, field: str, is_bytes: bool) -> Iterator[Finding]:
        """Values that do not open. The values themselves are told to nobody."""
        column = f"{record.meta.table}.{field}"
        for page in pages(self._connection, self._driver, record, [record.key.name, field]):
            for key, value in page:
                try:
                    if isinstance(value, bytes) and is_bytes:
                        self._seals.open(value, column)
                    elif value is not None:
                        self._seals.open_text(str(value), column)
                except CairnError as error:
                    yield Finding(
                        check="secrets",
                        what=f"{record.meta.table} {_shown(key)}: {error.message}",
                        do="Put the key file back that belongs to this database; or give the secret anew.",
                    )

    def _audit(self, audit: Audit, tx: Tx) -> Iterator[Finding]:
        for what in islice(audit.look(tx), _MOST):
            yield Finding(check=audit.name, what=what, do=audit.do)


def damaged(connection: Connection) -> list[Finding]:
    """What is wrong with the database itself. Outside of transactions, as some databases end one for it."""
    return [
        Finding(
            check="database",
            what=what,
            do="Look at the disk and its log. Stop the nodes, take a copy, and restore a backup or the newest dump.",
        )
        for what in connection.damage()[:_MOST]
    ]


def unknown(connection: Connection, driver: Driver, schema: Schema) -> list[Finding]:
    """Tables that have rows and no record. Outside of transactions."""
    quote = driver.dialect.identifier_preparer.quote
    others = sorted(table for table in connection.columns() if table not in schema.by_table)
    asked = ((one, f"SELECT 1 FROM {quote(one)} LIMIT 1") for one in others if not one.startswith(_SCRIPTS))  # noqa: S608 (tables that are there)
    return [
        Finding(
            check="tables",
            what=f"The table {table} has rows, and nothing that is loaded knows it.",
            do="It belongs to a plugin that is left out, which finds it again when it is back (`cairn plugin purge NAME` "
            "removes what it left), or was made by hand. It is in no dump.",
        )
        for table, sql in asked
        if connection.fetch_one(sql, ()) is not None
    ]


def _shown(value: SqlValue) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def missing(connection: Connection, schema: Schema) -> list[Finding]:
    """Tables and columns that are missing: where there are some, nothing else can be looked at."""
    there = connection.columns()
    lacking = {
        table: sorted({field.name for field in record.fields} - there.get(table, set()))
        for table, record in schema.by_table.items()
    }
    return [
        Finding(
            check="tables",
            what=f"{table}: {', '.join(names)} {'are' if len(names) > 1 else 'is'} missing.",
            do="Run `cairn db upgrade`. If they are missing still, the database was changed by hand: restore a backup.",
        )
        for table, names in lacking.items()
        if names
    ]


def behind(found: Mapping[str, str | None], newest: Mapping[str, str]) -> list[Finding]:
    """The histories whose scripts were not all run, or were run by a newer cairn.

    Args:
        found: by history: the script that the database is at; None: at none.
        newest: by history: the newest script of this cairn.
    """
    return [
        Finding(
            check="scripts",
            what=f"{name}: the database is at {found.get(name) or 'no script'}, and this cairn's newest is {head}.",
            do="Run `cairn db upgrade`. If it says that the database is newer, use that newer cairn.",
        )
        for name, head in sorted(newest.items())
        if found.get(name) != head
    ]
