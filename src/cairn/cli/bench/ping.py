"""``cairn bench ping``: what it costs the nodes to watch their hosts, and whether they keep up with it."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable

import click
from msgspec import Struct

from cairn.cli import output
from cairn.cli.bench.gauge import Process
from cairn.cli.bench.measuring import Cloud, Measuring, show
from cairn.cli.context import Context, common, pass_context
from cairn.cli.errors import Exit, refused

_PINGS = re.compile(r'^cairn_pings_total\{kind="host",outcome="(\w+)"\} (\S+)$', re.MULTILINE)
_WAITED = re.compile(r'^cairn_ping_wait_seconds_bucket\{kind="host",le="([^"]+)"\} (\S+)$', re.MULTILINE)
#: so many pings may be missing or too many for a run that begins and ends in the middle of an interval
_TOLERANCE = 0.03


class Pinged(Struct, frozen=True, kw_only=True):
    """The result of a run."""

    seconds: float
    interval_seconds: int  #: between two pings of a host
    pings: int
    failed: int
    expected: int  #: so many were due
    kept_up: bool
    waited_p99_seconds: float  #: at most so long pings waited for their turn; infinite beyond the largest bucket
    node_cpu_per_ping_us: float  #: with all else that the nodes did
    node_cores: list[float]  #: how much of a core each node on this machine took
    cloud: Cloud
    processes: list[Process]


class Counted(Struct, frozen=True):
    """What nodes have counted up to one moment."""

    ok: int
    failed: int
    waited: dict[float, int]  #: upper bound in seconds -> pings


@click.command("ping")
@click.option("--seconds", type=click.IntRange(1, 86_400), default=120, show_default=True, help="How long to look.")
@common
@pass_context
def ping(context: Context, seconds: int) -> None:
    """Look for a while how the nodes ping their hosts, and say what that costs.

    All nodes are asked for what they have counted. Let nothing else be asked of them meanwhile: it is the nodes' whole CPU time
    that is divided by the pings. The interval is the setting host.ping.interval; a shorter one is like more hosts.
    """
    measuring = Measuring(context)
    result = look(measuring, float(seconds))
    if context.as_json:
        output.print_json(result)
    else:
        _show(result)
    if not result.kept_up:
        sys.exit(Exit.REFUSED)


def look(
    measuring: Measuring,
    seconds: float,
    sleep: Callable[[float], None] = time.sleep,  # noqa: TID251 - a command line tool without an event loop
    monotonic: Callable[[], float] = time.monotonic,
) -> Pinged:
    """Measure for so many seconds."""
    cloud, interval = measuring.cloud(), _interval(measuring)
    measuring.begin()
    before, started = counted(measuring.metrics()), monotonic()
    sleep(seconds)
    after, passed = counted(measuring.metrics()), monotonic() - started
    processes = measuring.processes()
    pings = after.ok + after.failed - before.ok - before.failed
    expected = round(cloud.hosts * passed / interval)
    cpu = [one.cpu_seconds for one in processes if one.name.partition("-")[0] == "node"]
    return Pinged(
        seconds=round(passed, 2),
        interval_seconds=interval,
        pings=pings,
        failed=after.failed - before.failed,
        expected=expected,
        kept_up=pings >= expected * (1 - _TOLERANCE) - 1,
        waited_p99_seconds=_p99({bound: after.waited[bound] - before.waited.get(bound, 0) for bound in after.waited}),
        node_cpu_per_ping_us=round(sum(cpu) / pings * 1e6, 1) if pings else 0.0,
        node_cores=[round(one / passed, 4) for one in cpu],
        cloud=cloud,
        processes=processes,
    )


def counted(metrics: str) -> Counted:
    """Sum up what the metrics of nodes say."""
    outcomes: dict[str, int] = {}
    for outcome, number in _PINGS.findall(metrics):
        outcomes[outcome] = outcomes.get(outcome, 0) + int(float(number))
    waited: dict[float, int] = {}
    for bound, number in _WAITED.findall(metrics):
        waited[float(bound)] = waited.get(float(bound), 0) + int(float(number))
    return Counted(outcomes.get("ok", 0), outcomes.get("failed", 0), waited)


def _p99(buckets: dict[float, int]) -> float:
    """The bound of the bucket that the 99th percentile lies in."""
    total = max(buckets.values(), default=0)
    return next((bound for bound in sorted(buckets) if buckets[bound] * 100 >= total * 99), 0.0)


def _interval(measuring: Measuring) -> int:
    found = measuring.client.query("GlobalConfig", ["category=host", "name=ping.interval"]).inventories
    if not found:
        raise refused(
            "The node has no setting host.ping.interval: it is no cairn of this version.", code="bench.no-cloud"
        )
    return int(str(found[0]["value"]))


def _show(result: Pinged) -> None:
    cores = ", ".join(f"{100 * one:.2f} %" for one in result.node_cores)
    output.record(
        {
            "pings": f"{result.pings} in {result.seconds:.0f} s, {result.expected} due, {result.failed} without an answer",
            "interval": f"{result.interval_seconds} s",
            "waited for their turn": f"99 of 100 at most {result.waited_p99_seconds:g} s",
            "CPU of a ping": f"{result.node_cpu_per_ping_us:.0f} us, with all else that the nodes did",
            "of a core": cores or "-",
            **show(result.cloud, result.processes),
        }
    )
    if not result.kept_up:
        output.say("The nodes do not keep up: add nodes, or raise the setting host.ping.interval.")
