"""Migrations: Alembic without its command line, in process; on SQLite all of an upgrade in one transaction.

Each location (a folder ``…/<name>/migrations/versions`` or ``…/<name>/versions``) is a history of its own, with its own
version table ``alembic_version_<name>``: the core's first, then one for each plugin that has tables. So a plugin can be
left out and come back later, and its tables stay meanwhile. Scripts may rely on
the newest state of the locations before theirs.

A node calls `upgrade` before it opens its store. If the database is at every location's newest revision already,
Alembic is not even imported. To write a new script after a change to records, a developer calls `revision` and reads
what it wrote; a test calls `check`, which finds what was forgotten.

MariaDB and MySQL commit with each statement that changes a table (`cairn.kernel.store.upgrading`): there, an upgrade that is
broken off goes on at its next start with the statement after the last one that was done. Nodes that start together take turns.
"""

from __future__ import annotations

import re
import sqlite3
import tempfile
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateTable

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.store.address import database_at
from cairn.kernel.store.driver import Connection
from cairn.kernel.store.opening import connected, exists
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.types import CairnType
from cairn.kernel.store.upgrading import VERSION_TABLE, server_connection

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from alembic.operations.ops import MigrationScript

_REVISION = re.compile(r'^revision\b[^=\n]*=\s*"([^"]+)"', re.MULTILINE)
_DOWN_REVISION = re.compile(r'^down_revision\b[^=\n]*=\s*"([^"]+)"', re.MULTILINE)
_COLLATED = re.compile(r'(\w+)"? \w+ COLLATE')
_GOES_ON = "What was done before it stays, and is not done again: correct what is wrong and start the node again."
_TEMPLATE = '''"""{message}."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "{revision}"
down_revision = {down_revision}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    {upgrade}


def downgrade() -> None:
    """Go back."""
    {downgrade}
'''


def upgrade(url: str | Path, locations: Sequence[Path]) -> bool:
    """Bring the database to the newest revision of every location. Returns whether anything was to be done.

    Safe to repeat; after a crash in the middle nothing has happened (SQLite), or it goes on where it stopped (a server).

    Args:
        url: as for `Store.open`; a file is made if missing.
        locations: folders with scripts, the core's first.

    Raises:
        CairnError: ``store.newer-database`` (a newer cairn has been at it), ``store.migration-failed``,
            ``store.bad-locations``, ``store.bad-url``.
    """
    address = database_at(url)
    labels = _labels(locations)
    if _all_newest(url, labels):
        return False
    if isinstance(address, Path):
        with _connection(address) as connection, connection.begin():
            for label, location in labels.items():
                _upgrade_one(connection, label, location, "Nothing was changed.")
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
            if broken:
                rows = f"rows of {broken[0][0]} would point to rows of {broken[0][2]} that do not exist"
                raise _failed(rows, "Nothing was changed.")
        return True
    with server_connection(address) as server:
        if _all_newest(url, labels):  # another node has done it meanwhile
            return False
        for label, location in labels.items():
            with server.scripts_of(label):
                _upgrade_one(server.connection, label, location, _GOES_ON)
    return True


def check_columns(url: str | Path, schema: Schema) -> None:
    """See that every record finds its table and columns. Quick; `check` compares everything.

    Raises:
        CairnError: ``store.migration-missing``: no script makes what a record declares.
    """
    with connected(url, read_only=True) as connection:
        there = connection.columns()
    for name, table in schema.metadata.tables.items():
        found = there.get(name, set())
        missing = [column.name for column in table.columns if column.name not in found]
        if missing:
            what = f"{', '.join(missing)} of the table {name}" if found else f"the table {name}"
            raise CairnError(
                "store.migration-missing",
                f"A record declares {what}, but no migration script makes it. `cairn migrations revision` writes one.",
                kind=ErrorKind.INTERNAL,
            )


def check(url: str | Path, schema: Schema) -> list[str]:
    """The differences between records and a database of SQLite, a line each; empty if no migration is missing."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with _connection(_file(url)) as connection, _circles_allowed():
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": _is_ours})
        found = [str(difference) for difference in compare_metadata(context, schema.metadata)]
        return found + _lost_traits(connection, schema)


def _file(url: str | Path) -> Path:
    address = database_at(url)
    if isinstance(address, Path):
        return address
    raise CairnError(
        "store.bad-url", "Scripts are compared with records on SQLite. Name a file.", kind=ErrorKind.INTERNAL
    )


def _lost_traits(connection: sa.Connection, schema: Schema) -> list[str]:
    """Tables that are not STRICT and columns without their collation, which rebuilding a table loses unless told."""
    made: dict[str, str] = dict(
        connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'table'").all()
    )
    found: list[str] = []
    for name, table in schema.metadata.tables.items():
        is_there = made.get(name)
        if is_there is None:
            continue
        should_be = str(CreateTable(table).compile(dialect=connection.dialect))
        if not is_there.rstrip().endswith("STRICT"):
            found.append(f"table {name} is not STRICT")
        if lost := set(_COLLATED.findall(should_be)) ^ set(_COLLATED.findall(is_there)):
            found.append(f"table {name}: the collation differs in {', '.join(sorted(lost))}")
    return found


def revision(
    message: str, location: Path, schema: Schema, locations: Sequence[Path], tables: Collection[str] | None = None
) -> Path | None:
    """Write the script that takes the database from the newest scripts to the records; None if nothing differs.

    Args:
        message: what changes, a few words; becomes the file's name and docstring.
        location: where to write it; one of `locations`.
        schema: all records, those of the locations before included.
        locations: all folders that matter to it, the core's first.
        tables: the location's own tables; None: all of the schema. A table that earlier scripts of the location made
            and that no record still has is dropped.

    Returns:
        The file. Read it, and format it, before it is committed.
    """
    from alembic.autogenerate import produce_migrations
    from alembic.migration import MigrationContext

    with tempfile.TemporaryDirectory(prefix="cairn-migration-") as folder:
        path = Path(folder) / "store.db"
        own = set(tables) if tables is not None else set(schema.metadata.tables)
        for number, one in enumerate(locations, start=1):  # in their order: scripts rely on those of the folders before
            before = _tables_of(path)
            upgrade(path, locations[:number])
            if one == location:
                own |= _tables_of(path) - before

        options = {
            "compare_type": True,
            "render_as_batch": True,
            "include_object": lambda _item, name, kind, *_: kind != "table" or name in own,
        }
        with _connection(path) as connection, _circles_allowed():
            context = MigrationContext.configure(connection, opts=options)
            script = produce_migrations(context, schema.metadata)
            if script.upgrade_ops is None or script.upgrade_ops.is_empty():
                return None
            return _write(message, location, script, context)


def _write(message: str, location: Path, script: MigrationScript, context: object) -> Path:
    from alembic.autogenerate import render_python_code

    label = _label(location)
    last = _newest(location)
    number = 1 + len([one for one in location.glob("*.py") if not one.name.startswith("_")])
    slug = re.sub(r"[^a-z0-9]+", "_", message.lower()).strip("_")
    assert script.upgrade_ops is not None
    assert script.downgrade_ops is not None
    bodies = [
        render_python_code(ops, render_item=_render_item, render_as_batch=True, migration_context=context)  # type: ignore[arg-type]
        for ops in (script.upgrade_ops, script.downgrade_ops)
    ]
    text = _TEMPLATE.format(
        message=message[:1].upper() + message[1:].rstrip("."),
        revision=f"{label}_{number:04d}",
        down_revision="None" if last is None else f'"{last}"',
        upgrade=_without_comments(bodies[0]),
        downgrade=_without_comments(bodies[1]),
    )
    if "sa." not in text.partition("depends_on")[2]:
        text = text.replace("import sqlalchemy as sa\n", "")
    location.mkdir(parents=True, exist_ok=True)
    file = location / f"{number:04d}_{slug}.py"
    file.write_text(text)
    return file


def _without_comments(body: str) -> str:
    """The body as it goes behind the four spaces of the template."""
    return "\n".join(line for line in body.splitlines() if not line.strip().startswith("# ###")).strip() or "pass"


def _render_item(kind: str, item: object, context: AutogenContext) -> str | bool:
    if kind == "type" and isinstance(item, CairnType):
        return f"types.{item.spec()}"
    return False


def _is_ours(name: str | None, kind: str, _: object) -> bool:
    return kind != "table" or not str(name).startswith(VERSION_TABLE)


def history_of(location: Path) -> str:
    """The table that holds how far a folder's scripts were run."""
    return VERSION_TABLE + _label(location)


def newest_scripts(locations: Sequence[Path]) -> dict[str, str]:
    """By history: the newest script of each folder that has scripts."""
    newest = {label: _newest(location) for label, location in _labels(locations).items()}
    return {label: found for label, found in newest.items() if found is not None}


def scripts_run(connection: Connection) -> dict[str, str]:
    """By history: the newest script that was run on a database; also of histories that nobody has scripts of any more."""
    found = {
        table: connection.fetch_one(f"SELECT version_num FROM {table}", ())  # noqa: S608 (our own table)
        for table in connection.columns()
        if table.startswith(VERSION_TABLE)
    }
    return {table.removeprefix(VERSION_TABLE): str(row[0]) for table, row in found.items() if row is not None}


def _tables_of(path: Path) -> set[str]:
    with _connection(path) as connection:
        return {name for name in sa.inspect(connection).get_table_names() if _is_ours(name, "table", None)}


def _label(location: Path) -> str:
    for part in reversed(location.absolute().parts):
        if part not in ("versions", "migrations"):
            return re.sub(r"\W", "_", part)
    raise CairnError(
        "store.bad-locations", f"{location} is not a folder of migration scripts.", kind=ErrorKind.INTERNAL
    )


def _labels(locations: Sequence[Path]) -> dict[str, Path]:
    labels: dict[str, Path] = {}
    for location in locations:
        label = _label(location)
        if label in labels:
            text = f"migration folders {labels[label]} and {location} have the same name {label!r}; rename one."
            raise CairnError("store.bad-locations", text, kind=ErrorKind.INTERNAL)
        labels[label] = location
    return labels


def _newest(location: Path) -> str | None:
    """The newest revision of a location, read off its scripts without running them; None if there are no scripts."""
    revisions: set[str] = set()
    below: set[str] = set()
    for file in location.glob("*.py"):
        text = file.read_text()
        revisions.update(_REVISION.findall(text))
        below.update(_DOWN_REVISION.findall(text))
    heads = revisions - below
    if len(heads) > 1:
        text = (
            f"{location} has more than one newest revision: {', '.join(sorted(heads))}. "
            "Give one of them the other as its down_revision."
        )
        raise CairnError("store.bad-locations", text, kind=ErrorKind.INTERNAL)
    return next(iter(heads), None)


def _all_newest(url: str | Path, labels: dict[str, Path]) -> bool:
    newest = {f"{VERSION_TABLE}{label}": found for label, where in labels.items() if (found := _newest(where))}
    if not exists(url):
        return not newest
    with connected(url, read_only=True) as connection:
        there = connection.columns()
        return all(
            table in there and connection.fetch(f"SELECT version_num FROM {table}", ()) == [(revision,)]  # noqa: S608 (our own name)
            for table, revision in newest.items()
        )


def _upgrade_one(connection: sa.Connection, label: str, location: Path, left: str) -> None:
    """`left`: what is left of it when it fails."""
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    if _newest(location) is None:
        return
    scripts = ScriptDirectory(str(location.parent), version_locations=[str(location)])

    def steps(current: object, _: object) -> list[object]:
        return list(scripts._upgrade_revs("heads", current))  # type: ignore[arg-type]

    with EnvironmentContext(Config(), scripts, fn=steps, destination_rev="heads") as environment:
        environment.configure(
            connection=connection, version_table=VERSION_TABLE + label, transactional_ddl=False, render_as_batch=True
        )
        try:
            environment.run_migrations()
        except CommandError as error:
            text = (
                f"the database knows a revision of {label!r} that this cairn does not ({error}). "
                "It was used with a newer cairn: run that one, or go back to a backup."
            )
            raise CairnError("store.newer-database", text, kind=ErrorKind.UNAVAILABLE) from error
        except sa.exc.SQLAlchemyError as error:
            raise _failed(f"{label}: {error}", left) from error


def _failed(why: str, left: str) -> CairnError:
    text = f"the database could not be brought up to date: {why}. {left}"
    return CairnError("store.migration-failed", text, kind=ErrorKind.INTERNAL)


@contextmanager
def _circles_allowed() -> Iterator[None]:
    """Tables may refer to each other: a reference to a table that is made later does not trouble SQLite."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Cannot correctly sort tables", sa.exc.SAWarning)
        yield


@contextmanager
def _connection(path: Path) -> Iterator[sa.Connection]:
    """A connection on which schema changes are part of the transaction, as everything else is."""
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=NullPool)

    @sa.event.listens_for(engine, "connect")
    def by_hand(raw: sqlite3.Connection, _: object) -> None:
        raw.isolation_level = None
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute("PRAGMA synchronous=FULL")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    with engine.connect() as connection:
        yield connection
    engine.dispose()
