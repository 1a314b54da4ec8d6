"""Commands for the management nodes of a cloud: which there are, and how one is taken out of service."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import cast

import click
import msgspec

from cairn.cli import output
from cairn.cli.client import Client, Json, result_of
from cairn.cli.context import Context, common, pass_context
from cairn.cli.errors import usage
from cairn.cli.requests import build

_COLUMNS = ("uuid", "address", "state", "version", "joined", "last heard of")


@click.group("node")
def node() -> None:
    """The management nodes of the cloud."""


@node.command("list")
@common
@pass_context
def list_(context: Context) -> None:
    """List the nodes: where each is reached, its state and version, how long ago its heart has beaten, and what differs."""
    nodes = _nodes(context.client)
    if context.as_json:
        output.print_json(nodes)
    else:
        output.table(_COLUMNS, [_row(one) for one in nodes])
        for line in _differences(nodes):
            output.say(line)


@node.command("drain")
@click.argument("uuid")
@common
@pass_context
def drain(context: Context, uuid: str) -> None:
    """Have a node end what it has begun and get nothing new. Then it may be stopped."""
    found = _call(context, "DrainManagementNode", uuid)
    if not context.as_json:
        click.echo(
            f"node {found} gets nothing new. Stop it when its jobs have ended; started again it takes part again, as it does "
            f"by `cairn node resume {found}`"
        )


@node.command("resume")
@click.argument("uuid")
@common
@pass_context
def resume(context: Context, uuid: str) -> None:
    """Have a node that is drained take part again."""
    found = _call(context, "ResumeManagementNode", uuid)
    if not context.as_json:
        click.echo(f"node {found} takes part again")


@node.command("remove")
@click.argument("uuid")
@common
@pass_context
def remove(context: Context, uuid: str) -> None:
    """Forget a node that is dead. Its heart is watched for some seconds first; one that beats is refused."""
    found = _call(context, "RemoveManagementNode", uuid)
    if not context.as_json:
        click.echo(f"node {found} is forgotten")


def _nodes(client: Client) -> list[Json]:
    """The nodes as they are in the database, with the seconds since each was last heard of, by the answering node's clock."""
    rows = client.query("ManagementNode", []).inventories
    answer = client.call(build(client.api("GetCurrentTime"), {}))
    now = msgspec.json.decode(answer.body, type=dict[str, dict[str, int]])["currentTime"]["MillionSeconds"] / 1000
    return [{**row, "heartBeatAge": max(0.0, round(now - _seconds(row), 1))} for row in rows]


def _seconds(row: Json) -> float:
    return datetime.fromisoformat(str(row["heartBeat"])).timestamp()


def _row(one: Json) -> list[str]:
    host = str(one["hostName"])
    address = f"{f'[{host}]' if ':' in host else host}:{one['port']}"
    told = (
        one["uuid"],
        address,
        one["state"],
        one.get("version") or "",
        one["joinDate"],
        f"{one['heartBeatAge']} s ago",
    )
    return [output.plain(str(cell)) for cell in told]


def _differences(nodes: list[Json]) -> Iterator[str]:
    """What nodes that should be alike have different, a line each."""
    told = {str(one["uuid"])[:8]: cast("dict[str, str]", one["plugins"]) for one in nodes if one.get("plugins")}
    for name in sorted({name for plugins in told.values() for name in plugins}):
        versions = {
            uuid: plugins[name] or "cairn's own" if name in plugins else "none" for uuid, plugins in told.items()
        }
        if len(set(versions.values())) > 1:
            yield f"The plugin {name} differs: {', '.join(f'{uuid} has {found}' for uuid, found in versions.items())}."
    wheels = {str(one["uuid"])[:8]: str(one["wheels"])[:12] for one in nodes if one.get("wheels")}
    if len(set(wheels.values())) > 1:
        yield f"The wheels of agents differ: {', '.join(f'{uuid} has {found}' for uuid, found in wheels.items())}."


def _call(context: Context, api: str, given: str) -> str:
    """Call an API with a node's id, or the beginning of one; wait for its end, and return the id."""
    client = context.client
    known = [str(row["uuid"]) for row in client.query("ManagementNode", []).inventories]
    found = [uuid for uuid in known if uuid.startswith(given)]
    if len(found) != 1:
        raise usage(f"{given}: {len(found)} nodes have an id that begins so. There are {', '.join(known)}.")
    job = client.submit(build(client.api(api), {"uuid": found[0]}))
    with output.watching(silent=context.as_json) as watcher:
        answer = result_of(client.follow(job, watcher))
    if context.as_json:
        output.print_json(answer)
    return found[0]
