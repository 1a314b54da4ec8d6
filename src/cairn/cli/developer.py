"""Commands for cairn's developers and operators: workflows, wheels, migrations."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from msgspec import Struct

from cairn.cli import output
from cairn.cli.client import Request
from cairn.cli.context import Context, common, pass_context
from cairn.cli.errors import CliError, usage
from cairn.cli.schema import nearest

if TYPE_CHECKING:
    from cairn.kernel.flow.workflow import EffectiveWorkflow


class Line(Struct, frozen=True, kw_only=True):
    """One step of a workflow's effective list."""

    name: str
    title: str = ""
    origin: str


class WorkflowView(Struct, frozen=True, kw_only=True):
    """A workflow with its effective list."""

    name: str
    doc: str = ""
    steps: tuple[Line, ...] = ()


class _Workflows(Struct, frozen=True):
    inventories: tuple[WorkflowView, ...]


@click.group("workflow")
def workflow() -> None:
    """Show which steps each operation takes, and where each line came from."""


_offline = click.option(
    "--offline", is_flag=True, help="What a node would use if it were started now, without asking one."
)


@workflow.command("list")
@_offline
@common
@pass_context
def list_(context: Context, offline: bool) -> None:
    """List all workflows."""
    found = _workflows(context, offline=offline)
    if context.as_json:
        output.print_json(found)
    else:
        output.table(("workflow", "steps", "what it does"), ((one.name, str(len(one.steps)), one.doc) for one in found))


@workflow.command("show")
@click.argument("name")
@_offline
@common
@pass_context
def show(context: Context, name: str, offline: bool) -> None:
    """Print the effective list of the workflow NAME."""
    found = _workflows(context, offline=offline)
    one = next((one for one in found if one.name == name), None)
    if one is None:
        raise usage(
            f"There is no workflow {name!r}.{nearest(name, [one.name for one in found])} cairn workflow list shows all.",
            code="cli.no-such-workflow",
        )
    if context.as_json:
        output.print_json(one)
        return
    click.echo(f"{one.name}: {one.doc}")
    numbered = enumerate(one.steps, start=1)
    rows = ((str(number), line.name, line.title, line.origin) for number, line in numbered)
    output.table(("", "step", "what it does", "from"), rows)


def _workflows(context: Context, *, offline: bool) -> tuple[WorkflowView, ...]:
    if not offline:
        try:
            body = context.client.call(Request(verb="GET", path="/v1/workflows")).body
            return msgspec.json.decode(body, type=_Workflows).inventories
        except CliError as error:
            if error.problem.code != "cli.unreachable":
                raise
            output.say("No node answers; this is what one would use if it were started now.")
    return _offline_workflows(context)


def _offline_workflows(context: Context) -> tuple[WorkflowView, ...]:
    """Puts a node together without starting it, with its state in a folder that is thrown away."""
    import asyncio

    from cairn.bootstrap import Node
    from cairn.kernel import log
    from cairn.kernel.settings import load

    settings = load(context.environment, data_dir=context.data_dir)
    own = settings.workflow_dir or str(settings.data_dir / "workflows.d")

    async def look() -> tuple[WorkflowView, ...]:
        with tempfile.TemporaryDirectory(prefix="cairn-workflows-") as folder:
            plain = msgspec.structs.replace(settings, data_dir=Path(folder), database="", workflow_dir=own)
            node = await Node.build(plain)
            book = node.context.flows.book
            try:
                return tuple(_view(book.effective(name)) for name in book.names())
            finally:
                await node.stop()

    log.configure(level="error", form="console")
    return asyncio.run(look())


def _view(effective: EffectiveWorkflow) -> WorkflowView:
    pairs = zip(effective.steps, effective.entries, strict=True)
    lines = tuple(Line(name=step.name, title=step.title, origin=entry.origin) for step, entry in pairs)
    return WorkflowView(name=effective.workflow.name, doc=effective.workflow.doc, steps=lines)


@click.group("wheels")
def wheels() -> None:
    """The wheels that agents are installed from."""


@wheels.command("build")
@click.option("--output", "folder", type=click.Path(path_type=Path, file_okay=False), help="Default: where nodes look.")
@click.option("--source", type=click.Path(path_type=Path, file_okay=False, exists=True), help="cairn's source tree.")
@common
@pass_context
def build(context: Context, folder: Path | None, source: Path | None) -> None:
    """Fill a folder with cairn's wheel and those that its agents need. Safe to repeat."""
    from cairn.kernel.deploy.wheels import build_wheels, default_folder

    made = build_wheels(folder or default_folder(), source)
    if context.as_json:
        output.print_json({"folder": str(made.folder), "checksum": made.checksum, "names": made.names})
    else:
        click.echo(f"{len(made.names)} wheels in {made.folder} (checksum {made.checksum[:12]})")


@click.group("migrations")
def migrations() -> None:
    """The database's migrations (for developers)."""


@migrations.command("revision")
@click.argument("message")
@click.option("--plugin", help="The plugin whose records changed; left out: the core's.")
@common
@pass_context
def revision(context: Context, message: str, plugin: str | None) -> None:
    """Write the script that takes the database to the records as they are now. MESSAGE says what changes."""
    path = _revision(context, message, plugin)
    if context.as_json:
        output.print_json({"path": None if path is None else str(path)})
    elif path is None:
        click.echo("Nothing differs between scripts and records.")
    else:
        click.echo(f"{path}\nRead it, and format it, before it is committed.")


def _revision(context: Context, message: str, plugin: str | None) -> Path | None:
    from cairn.bootstrap import CORE_MIGRATIONS, load_plugins, migration_folders
    from cairn.kernel.assembly import make_schema
    from cairn.kernel.settings import load
    from cairn.kernel.store.migrations import revision as write

    loaded = load_plugins(load(context.environment, data_dir=context.data_dir), scripts=False)
    own = {manifest.name: manifest for manifest in loaded.manifests if manifest.migrations is not None}
    for manifest in loaded.manifests:
        if manifest.name == plugin and manifest.name in loaded.plugins and manifest.records:
            own[plugin] = manifest  # its first script makes the folder
    if plugin is None:
        location = CORE_MIGRATIONS
        records = [record for one in loaded.manifests if one.migrations is None for record in one.records]
    elif plugin in own:
        location, records = own[plugin].migrations_folder, list(own[plugin].records)
    else:
        known = ", ".join(sorted(own)) or "none"
        raise usage(f"No plugin {plugin!r} has migrations of its own; there are: {known}.", code="cli.no-such-plugin")
    tables = [record.meta.table for record in records]
    return write(message, location, make_schema(loaded), migration_folders(loaded), tables)
