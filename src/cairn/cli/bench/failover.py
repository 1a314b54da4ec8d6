"""``cairn bench failover``: kills one node of several amid many calls, and sees how the others go on."""

from __future__ import annotations

import sys

import click
from msgspec import Struct

from cairn.cli import output
from cairn.cli.bench.around import Local, kill
from cairn.cli.bench.crash import Aftermath, aftermath, is_clean, play, run_interrupted, show
from cairn.cli.bench.gauge import Process
from cairn.cli.bench.measuring import Cloud, Measuring, check_files
from cairn.cli.bench.measuring import show as show_cloud
from cairn.cli.bench.template import template_of
from cairn.cli.context import Context, common, pass_context
from cairn.cli.errors import Exit, refused
from cairn.cli.up.api import ClientApi


class FailedOver(Struct, frozen=True, kw_only=True):
    """The result of a run."""

    takeover_seconds: float  #: from the kill to the end of the last job that was open then, whichever node had it
    stuck: int
    leaked: int
    lost: int
    killed: str  #: the process
    calls: Aftermath
    cloud: Cloud  #: afterwards
    processes: list[Process]  #: without the node that was killed


@click.command("failover")
@click.option(
    "--count", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="Calls that create VMs."
)
@click.option(
    "--concurrency", type=click.IntRange(1, 20_000), default=500, show_default=True, help="How many in flight."
)
@click.option("--pid", type=click.IntRange(2), help="The node's process; default: one that --url does not lead to.")
@click.option(
    "--patience", type=click.IntRange(1, 3600), default=120, show_default=True, help="Seconds that an end may take."
)
@common
@pass_context
def failover(context: Context, count: int, concurrency: int, pid: int | None, patience: int) -> None:
    """Kill a node of several (kill -9) when a third of the calls are jobs, and check the books.

    Calls go to --url: a node that stays, or a proxy in front of all. The node that is killed runs on this machine, and is not
    started again. The VMs are of the cloud that `cairn up --simulated` or `cairn bench hosts` made; they stay.
    """
    template = template_of(context, ClientApi(context.client))
    concurrency = min(concurrency, count)
    check_files(concurrency)
    measuring = Measuring(context)
    victim = victim_of(measuring, pid)
    load = play(measuring.origin, template, count, concurrency, float(patience))

    async def strike() -> None:
        kill(victim.pid)

    run = run_interrupted(load, max(count // 3, 1), strike)
    calls = aftermath(run, context.client, template.prefix)
    result = FailedOver(
        takeover_seconds=calls.last_end_seconds,
        stuck=calls.stuck,
        leaked=calls.leaked,
        lost=calls.lost,
        killed=f"{victim.name} ({victim.pid})",
        calls=calls,
        cloud=measuring.cloud(),
        processes=measuring.processes(),
    )
    if context.as_json:
        output.print_json(result)
    else:
        output.record(
            {
                "killed": result.killed,
                "taken over after": f"{result.takeover_seconds:.2f} s",
                **show(result.calls),
                **show_cloud(result.cloud, result.processes),
            }
        )
    if not is_clean(calls):
        sys.exit(Exit.REFUSED)


def victim_of(measuring: Measuring, pid: int | None) -> Local:
    """The node to be killed (exit code 1 when there is none to spare)."""
    nodes = measuring.nodes
    if len(nodes) < 2:
        raise refused(
            f"{len(nodes)} nodes were found on this machine, and it takes two or more: one is killed. For one alone: cairn bench "
            "restart.",
            code="bench.no-node",
        )
    if pid is not None:
        found = [one for one in nodes if one.pid == pid]
        if not found:
            known = ", ".join(str(one.pid) for one in nodes)
            raise refused(f"--pid: {pid} is no node of this cloud; {known} are.", code="bench.no-node")
        return found[0]
    entry = measuring.entry
    spare = [one for one in nodes if one.pid not in entry]
    return (spare or nodes)[-1]
