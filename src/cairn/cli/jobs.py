"""Commands that show jobs and events."""

from __future__ import annotations

import click
import msgspec

from cairn.cli import output
from cairn.cli.client import Job, Json, result_of
from cairn.cli.context import Context, common, pass_context
from cairn.cli.queries import show


@click.command("jobs")
@click.option("--all", "all_", is_flag=True, help="Also those that have ended.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@common
@pass_context
def jobs(context: Context, all_: bool, limit: int) -> None:
    """List the jobs that are open, the newest first."""
    client = context.client
    conditions = [] if all_ else ["state?=Waiting,Running"]
    page = client.query("Job", conditions, options=[("sort", "-createDate"), ("limit", str(limit))])
    if context.as_json:
        output.print_json(page)
    elif page.inventories:
        show(page, client.schema.by_entity["Job"])
    else:
        output.say("There are no jobs." if all_ else "No job is open. cairn jobs --all shows those that have ended.")


@click.command("job")
@click.argument("uuid")
@click.option("--follow", is_flag=True, help="Wait for its end.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Stop waiting after so many seconds.")
@common
@pass_context
def job(context: Context, uuid: str, follow: bool, timeout: float | None) -> None:
    """Show how a job stands, or with --follow how it ends: exit code 1 if it failed."""
    client = context.client
    found = client.job(uuid)
    if follow and found.is_open:
        with output.watching(silent=context.as_json) as watcher:
            found = client.follow(found, watcher, timeout)
    if context.as_json:
        output.print_json(found)
    else:
        _show(found)
    if follow:
        result_of(found)


@click.command("cancel")
@click.argument("uuid")
@common
@pass_context
def cancel(context: Context, uuid: str) -> None:
    """Ask a job to end, with what it did undone. One that has ended stays as it is."""
    found = context.client.cancel(uuid)
    if context.as_json:
        output.print_json(found)
    elif found.is_open:
        click.echo(f"job {uuid} was asked to end; see how it does: cairn job {uuid} --follow")
    else:
        click.echo(f"job {uuid} had ended: {found.state}")


@click.command("events")
@click.option("--follow", is_flag=True, help="Go on with what happens from now; Ctrl-C ends it.")
@click.option("--after", type=click.IntRange(min=0), help="With --follow: begin behind this event's number.")
@click.option("--name", "names", multiple=True, help="Only events of this name; may be repeated.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Without --follow.")
@common
@pass_context
def events(context: Context, follow: bool, after: int | None, names: tuple[str, ...], limit: int) -> None:
    """Show what happened in the cloud, the newest last."""
    if follow:
        for event in context.client.events(after, names):
            _show_event(event, as_json=context.as_json)
        return
    conditions = [f"name?={','.join(names)}"] if names else []
    page = context.client.query("Event", conditions, options=[("sort", "-sequence"), ("limit", str(limit))])
    if context.as_json:
        output.print_json(page)
        return
    if not page.inventories:
        output.say("No event matches." if names else "Nothing has happened yet.")
    for event in reversed(page.inventories):
        _show_event(event, as_json=False)


def _show(found: Job) -> None:
    shown: Json = {"uuid": found.uuid, "api": found.api, "state": found.state}
    if found.progress is not None and found.is_open:
        shown["progress"] = f"{found.progress.step} ({found.progress.percent} %)"
    shown |= {"created": found.create_date, "ended": found.finish_date}
    output.record(shown)
    if found.error is not None:
        output.print_problem(found.error)
    elif found.result:
        output.result(found.result)


def _show_event(event: Json, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(event))
        return
    content = event.get("content")
    told = output.cell(content) if isinstance(content, dict) else ""
    click.echo(output.plain(f"{event.get('createDate')}  {event.get('sequence')}  {event.get('name')}  {told}"))
