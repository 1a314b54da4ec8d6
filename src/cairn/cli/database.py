"""``cairn db``: what an operator does with the database, without a node: bring it up to date, look it through, dump, restore."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cairn.cli import output
from cairn.cli.context import Context, common, pass_context
from cairn.cli.errors import refused

if TYPE_CHECKING:
    from cairn.kernel.health import Finding
    from cairn.kernel.plugin.manifest import Loaded
    from cairn.kernel.settings import Settings
    from cairn.kernel.store.driver import Driver
    from cairn.kernel.store.dump import Content, Progress
    from cairn.kernel.store.schema import Schema

#: in so long a node that is alive writes a heartbeat
_HEARTBEATS_SECONDS = 5.0
#: between two lines about one table
_TELL_ROWS = 100_000


@click.group("db")
def database() -> None:
    """The database that the settings name: upgrade, check, dump, restore. No node is needed."""


class Place:
    """The database, and what belongs to it."""

    def __init__(self, context: Context) -> None:
        from cairn.bootstrap import load_plugins, migration_folders
        from cairn.kernel.assembly import make_schema
        from cairn.kernel.settings import load
        from cairn.kernel.store.migrations import newest_scripts

        self.settings: Settings = load(context.environment, data_dir=context.data_dir)
        self.loaded: Loaded = load_plugins(self.settings)
        self.schema: Schema = make_schema(self.loaded)
        self.newest = newest_scripts(migration_folders(self.loaded))
        self.where = self.settings.database or str(self.settings.data_dir / "cairn.db")

    def driver(self) -> Driver:
        """For connections of our own (``db.no-database`` where there is none)."""
        from cairn.kernel.store.address import database_at
        from cairn.kernel.store.opening import driver_at, exists

        if not exists(self.where):
            raise refused(
                f"There is no database {shown(self.where)}. `cairn db upgrade` makes one.", code="db.no-database"
            )
        return driver_at(database_at(self.where))

    def scripts(self) -> dict[str, str]:
        """By history: the newest script that was run."""
        from cairn.kernel.store.migrations import scripts_run

        connection = self.driver().connect(read_only=True)
        try:
            return scripts_run(connection)
        finally:
            connection.close()

    def upgrade(self) -> None:
        """Run the scripts that are missing, and seal what lies there in clear; make the database if there is none."""
        import asyncio

        from cairn.bootstrap import open_store
        from cairn.kernel.clock import SystemClock
        from cairn.kernel.metrics import Metrics

        async def run() -> None:
            store = await open_store(self.settings, self.loaded, SystemClock(), Metrics())
            await store.close()

        asyncio.run(run())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else works with the database meanwhile (``node.already-running``, ``node.database-in-use``)."""
        from cairn.kernel.membership import FolderLock, lock_database
        from cairn.kernel.store.address import database_at

        self.settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with ExitStack() as held:
            held.callback(FolderLock(self.settings.data_dir).release)
            if isinstance(file := database_at(self.where), Path):
                held.callback(lock_database(file).release)
            else:
                self._refuse_nodes()
            yield

    def _refuse_nodes(self) -> None:
        """A database on a server has no lock that all nodes hold: see whether one of them writes its heartbeat."""
        with closing(self.driver().connect(read_only=True)) as connection:
            if "management_node" not in connection.columns():
                return
            asked = "SELECT * FROM management_node"
            before = connection.fetch(asked, ())
            if before:
                threading.Event().wait(_HEARTBEATS_SECONDS)
                connection.rollback()
                if connection.fetch(asked, ()) != before:
                    raise refused("Nodes work with this database. Stop all of them first.", code="db.nodes-alive")


@database.command("upgrade")
@common
@pass_context
def upgrade(context: Context) -> None:
    """Bring the database up to date with this cairn, as a node does at its start. Safe to repeat."""
    place = Place(context)
    with place.alone():
        place.upgrade()
    scripts = place.scripts()
    if context.as_json:
        output.print_json({"database": shown(place.where), "scripts": scripts})
    else:
        click.echo(f"{shown(place.where)} is up to date: {', '.join(f'{name} {at}' for name, at in scripts.items())}.")


@database.command("check")
@common
@pass_context
def check(context: Context) -> None:
    """Look through the database, and tell what is wrong and what to do about it. It changes nothing, also beside a node.

    It ends with 1 if it finds something. What is booked may be off for a moment beside a node that works: look again.
    """
    findings = _findings(Place(context), quiet=context.as_json)
    if context.as_json:
        output.print_json({"findings": findings})
    elif findings:
        output.table(("check", "found", "what to do"), ((one.check, one.what, one.do) for one in findings))
    if findings:
        raise refused(f"{len(findings)} things are not as they should be.", code="db.findings")
    output.say("Nothing is wrong.")


def _findings(place: Place, *, quiet: bool) -> list[Finding]:
    from cairn.kernel.health import Health, behind, damaged, missing, unknown
    from cairn.kernel.settings import secret_key_file
    from cairn.kernel.store.dump import seal_keys
    from cairn.kernel.store.sealing import require_keys
    from cairn.kernel.store.transaction import reading

    driver = place.driver()
    found = behind(place.scripts(), place.newest)
    if found:
        return found
    with closing(driver.connect(read_only=True)) as connection:
        found = missing(connection, place.schema)
        if found:
            return found
        found = damaged(connection) + unknown(connection, driver, place.schema)
        seals = require_keys(secret_key_file(place.settings), set(seal_keys(connection, driver, place.schema)))
    with reading(driver, place.schema, seals) as (connection, tx):
        health = Health(connection, driver, place.schema, seals)
        for name, findings in health.checks(tx, place.loaded.audits):
            these = list(findings)
            found += these
            if not quiet:
                output.say(f"{name}: {len(these) or 'nothing'} found")
    return found


@database.command("dump")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@common
@pass_context
def dump(context: Context, file: Path) -> None:
    """Write all that is in the database into FILE, which any kind of database can be filled from (FILE.gz: compressed).

    It is the database as it is at one moment, also beside a node that works. Secrets stay sealed in it: the key file is not
    in it, and is needed to restore. Keep them apart.
    """
    from datetime import UTC
    from importlib import metadata

    from cairn.kernel.clock import SystemClock
    from cairn.kernel.store.dump import write_dump

    place = Place(context)
    _check_scripts(place)
    content = write_dump(
        file,
        place.driver(),
        place.schema,
        version=metadata.version("cairn-cloud"),
        created=SystemClock().now().astimezone(UTC).isoformat(),
        heads=place.newest,
        progress=_progress(context),
    )
    kept = "The key of its secrets is not in it: keep that, too."
    _tell(context, content, file, f"{file} has {{rows}} rows of {{tables}} tables. {kept}")


def _check_scripts(place: Place) -> None:
    from cairn.kernel.health import behind

    if found := behind(place.scripts(), place.newest):
        raise refused(f"{found[0].what} {found[0].do}", code="db.not-up-to-date")


@database.command("restore")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Remove what is in the database before. It cannot be undone.")
@common
@pass_context
def restore(context: Context, file: Path, force: bool) -> None:
    """Fill the database that the settings name from FILE, a dump of any kind of database. The nodes must not run.

    FILE is read through before anything is changed. The database has to be empty, or new, unless --force is given. Put the key
    file of the dump's cloud in place first.
    """
    from cairn.kernel.settings import secret_key_file
    from cairn.kernel.store.dump import restore as fill
    from cairn.kernel.store.dump import verify
    from cairn.kernel.store.sealing import require_keys

    place = Place(context)
    with place.alone():
        content = verify(file, place.newest, place.schema)
        require_keys(secret_key_file(place.settings), set(content.header.seal_keys))
        place.upgrade()
        fill(file, content, place.driver(), place.schema, force=force, progress=_progress(context))
    _tell(context, content, file, f"{shown(place.where)} has {{rows}} rows of {{tables}} tables now. Start the node.")


def _tell(context: Context, content: Content, file: Path, sentence: str) -> None:
    rows = {table: count for table, count in content.end.rows.items() if count}
    if context.as_json:
        output.print_json(
            {
                "file": str(file),
                "version": content.header.version,
                "created": content.header.created,
                "rows": content.end.rows,
            }
        )
    else:
        click.echo(sentence.format(rows=sum(rows.values()), tables=len(rows)))


def _progress(context: Context) -> Progress:
    told: dict[str, int] = {}

    def progress(table: str, rows: int) -> None:
        if not context.as_json and rows - told.get(table, 0) >= _TELL_ROWS:
            told[table] = rows
            output.say(f"{table}: {rows} rows")

    return progress


def shown(where: str) -> str:
    """The database without a password that its address may have."""
    scheme, found, rest = where.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if found else where
