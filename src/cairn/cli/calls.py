"""``cairn create-vm-instance name=web …``: every API of the node is a command."""

from __future__ import annotations

import click
import msgspec

from cairn.cli import output
from cairn.cli.client import Client, Job, Json, Request, result_of
from cairn.cli.context import Context, common, pass_context
from cairn.cli.errors import usage
from cairn.cli.reference import options, reference
from cairn.cli.requests import build, shown
from cairn.cli.schema import Api
from cairn.cli.values import Values

_QUERY_SECONDS = 120.0


class ApiCommand(click.Command):
    """Its name is the API's; its help comes from the node."""

    def get_help(self, ctx: click.Context) -> str:
        """The parameters of the API, then the options of this command."""
        context = ctx.ensure_object(Context)
        client = context.client
        text = reference(client.schema, client.api(str(ctx.info_name)))
        formatter = ctx.make_formatter()
        self.format_options(ctx, formatter)
        return f"{text}\n{options()}\n\n{formatter.getvalue().rstrip()}"


@click.command(cls=ApiCommand, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the job's end.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Stop waiting after so many seconds; the job goes on.")
@click.option("-q", "--quiet", is_flag=True, help="Print only the uuid.")
@click.option("--dry-run", is_flag=True, help="Show the request and send nothing.")
@common
@pass_context
@click.pass_context
def call(
    click_context: click.Context,
    context: Context,
    words: tuple[str, ...],
    wait: bool,
    timeout: float | None,
    quiet: bool,
    dry_run: bool,
) -> None:
    """Call an API of the node."""
    client = context.client
    api = client.api(str(click_context.info_name))
    request = build(api, Values(client.schema, api, context.names).parse(words))
    if dry_run:
        _show_request(client, shown(api, request), as_json=context.as_json)
    elif not api.is_job:
        seconds = timeout or _QUERY_SECONDS
        answer = msgspec.json.decode(
            client.call(request, timeout_seconds=seconds).body or b"{}", type=dict[str, object]
        )
        _show_result(context, api, answer, quiet=quiet)
    elif not wait:
        _show_job(context, client.submit(request), quiet=quiet)
    else:
        job = msgspec.structs.replace(client.submit(request), api=api.name)
        with output.watching(silent=quiet or context.as_json) as watcher:
            ended = client.follow(job, watcher, timeout)
        _show_result(context, api, result_of(ended), quiet=quiet)


def _show_request(client: Client, request: Request, *, as_json: bool) -> None:
    if as_json:
        output.print_json({"verb": request.verb, "url": client.url + request.target, "body": request.body})
        return
    click.echo(f"{request.verb} {client.url}{request.target}")
    if request.body is not None:
        output.print_json(request.body)


def _show_result(context: Context, api: Api, answer: Json, *, quiet: bool) -> None:
    inventory = answer.get("inventory")
    if quiet:
        if isinstance(inventory, dict) and inventory.get("uuid"):
            click.echo(str(inventory["uuid"]))
    elif context.as_json:
        output.print_json(answer)
    else:
        output.result(answer, context.client.schema.by_entity.get(api.entity or ""))


def _show_job(context: Context, job: Job, *, quiet: bool) -> None:
    if quiet:
        click.echo(job.uuid)
    elif context.as_json:
        output.print_json(job)
    else:
        click.echo(f"job {job.uuid}")
        output.say(f"Follow it: cairn job {job.uuid} --follow. Cancel it: cairn cancel {job.uuid}.")


@click.command("help")
@click.argument("name", required=False)
@common
@pass_context
@click.pass_context
def help_(click_context: click.Context, context: Context, name: str | None) -> None:
    """Tell what a command or an API does and takes."""
    root = click_context.find_root()
    group = root.command
    if name is None:
        click.echo(group.get_help(root))
        return
    found = group.get_command(root, name) if isinstance(group, click.Group) else None
    if found is None:
        raise usage(f"There is no command {name!r}. cairn help lists the commands, cairn apis the APIs.")
    with click.Context(found, info_name=name, parent=root) as inner:
        click.echo(found.get_help(inner))


@click.command("apis")
@click.argument("word", required=False, default="")
@common
@pass_context
def apis(context: Context, word: str) -> None:
    """List the APIs whose name or description has WORD in it."""
    needle = word.lower()
    found = [
        api for api in context.client.schema.apis if needle in api.cli_name or needle in f"{api.name} {api.doc}".lower()
    ]
    if context.as_json:
        output.print_json(found)
    elif found:
        output.table(("api", "what it does"), ((api.cli_name, _first(api.doc)) for api in found))
    else:
        output.say(f"No API has {word!r} in its name or description.")


def _first(doc: str) -> str:
    return doc.strip().partition("\n")[0].replace("`", "")
