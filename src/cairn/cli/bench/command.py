"""``cairn bench vm --count N --concurrency C``."""

from __future__ import annotations

import gc
import sys
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import click
import uvloop
from msgspec import Struct

from cairn.cli import output
from cairn.cli.bench.around import Meter, around
from cairn.cli.bench.creation import Creation, Ended, Template
from cairn.cli.bench.failover import failover
from cairn.cli.bench.gauge import Gauge, Process, own_peak_bytes
from cairn.cli.bench.hosts import hosts as add_hosts
from cairn.cli.bench.load import remove
from cairn.cli.bench.measuring import others, total
from cairn.cli.bench.mixed import mixed
from cairn.cli.bench.ping import ping
from cairn.cli.bench.populate import populate
from cairn.cli.bench.query import query
from cairn.cli.bench.restart import restart
from cairn.cli.bench.template import template_of
from cairn.cli.bench.wire import Origin
from cairn.cli.client import Client
from cairn.cli.context import Context, common, pass_context
from cairn.cli.errors import Exit, refused
from cairn.cli.up.api import Api, ClientApi
from cairn.cli.up.report import Report
from cairn.kernel.files import open_more

#: no more are in flight unless asked for: a node takes no more jobs than its backlog (`job.backlog`)
_MOST_AT_ONCE = 10_000
_OTHER_FILES = 100


class Measured(Struct, frozen=True, kw_only=True):
    """The result of a run."""

    count: int
    concurrency: int
    connections: int
    largest_in_flight: int  #: calls that had begun and not ended
    broken_connections: int
    hosts: int
    created: int
    failed: int
    wall_seconds: float
    accepted_seconds: float | None  #: until the last call was a job; None: the node has forgotten
    vms_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    node_cpu_seconds: float
    node_peak_memory_bytes: int
    processes: list[Process]
    store: str
    durable: bool | None  #: None: the node does not say
    bus: str
    nodes: int
    vms: int  #: in the cloud afterwards
    errors: dict[str, int]  #: code -> how often
    left: int = 0  #: VMs that could not be removed


@click.group("bench")
def bench() -> None:
    """Measure a running cloud through its API."""


bench.add_command(populate)
bench.add_command(query)
bench.add_command(add_hosts)
bench.add_command(ping)
bench.add_command(mixed)
bench.add_command(restart)
bench.add_command(failover)


@bench.command("vm")
@click.option("--count", type=click.IntRange(1, 10_000_000), default=100, show_default=True, help="How many VMs.")
@click.option(
    "--concurrency", type=click.IntRange(1), help="How many are in flight at most; default: all at once, up to 10000."
)
@click.option(
    "--connections",
    type=click.IntRange(1),
    help="On how many connections; default: one for each call in flight. Fewer than that are cheaper for the node.",
)
@click.option("--hosts", type=click.IntRange(1), help="With --simulator-url: how many hosts there are to be.")
@click.option("--simulator-url", help="A simulator; the cloud on it is made, or completed.")
@click.option("--image", help="Name or uuid; default: what `cairn up` made.")
@click.option("--network", help="Name or uuid of an L3 network; default: what `cairn up` made.")
@click.option("--keep", is_flag=True, help="Keep the VMs; else they are destroyed and expunged.")
@common
@pass_context
def vm(
    context: Context,
    count: int,
    concurrency: int | None,
    connections: int | None,
    hosts: int | None,
    simulator_url: str | None,
    image: str | None,
    network: str | None,
    keep: bool,
) -> None:
    """Create VMs and say how long that takes, and what it costs the node."""
    api = ClientApi(context.client)
    if simulator_url is not None:
        _prepare(api, simulator_url.rstrip("/"), hosts, quiet=context.as_json)
    template = template_of(context, api, image, network)
    found = len(api.find("Host", "status=Connected"))
    at_once = min(concurrency or _MOST_AT_ONCE, count)
    _check_files(connections or at_once)
    measured = _measure(context, template, count, (at_once, connections or at_once), found, keep=keep)
    if context.as_json:
        output.print_json(measured)
    else:
        _show(measured)
    if measured.failed:
        sys.exit(Exit.REFUSED)


def summary(ended: Sequence[Ended]) -> tuple[float | None, float | None, float | None]:
    """Median, 99th percentile and maximum of those that succeeded, in milliseconds; None when none did."""
    times = sorted(one.seconds * 1000 for one in ended if one.error is None)
    if not times:
        return None, None, None
    # The nearest rank: an observed value, even of few.
    p50, p99 = (times[max(0, -(-len(times) * percent // 100) - 1)] for percent in (50, 99))
    return round(p50, 3), round(p99, 3), round(times[-1], 3)


def _check_files(connections: int) -> None:
    files = open_more(connections + _OTHER_FILES)
    if files < connections + _OTHER_FILES:
        raise refused(
            f"{connections} connections take as many files, and this process may have {files}. Raise the limit (ulimit -n), or "
            f"say --connections {max(files - _OTHER_FILES, 1)}.",
            code="bench.few-files",
        )


def _measure(
    context: Context, template: Template, count: int, at_once: tuple[int, int], hosts: int, *, keep: bool
) -> Measured:
    client = context.client
    session = client.session_uuid()
    origin = Origin(client.url, session, context.ca_file)
    gauge = Gauge(client.http, context.data_dir, headers={"Authorization": f"OAuth {session}"})
    concurrency, connections = at_once
    creation = Creation(origin, template, count, concurrency, connections, lambda: uuid.uuid4().hex)
    gauge.reset_peak()
    meter = Meter(around([client.url, *others(client)]))
    before = gauge.read()
    gc.set_threshold(100_000, 50, 100)
    started, begun, own = time.perf_counter(), datetime.now(UTC), time.process_time()
    _run(creation)
    wall, own = time.perf_counter() - started, time.process_time() - own
    after = gauge.read()
    created = [one.vm for one in creation.ended if one.error is None]
    left = 0 if keep else uvloop.run(remove(origin, created))
    p50, p99, longest = summary(creation.ended)
    return Measured(
        count=count,
        concurrency=concurrency,
        connections=min(connections, concurrency),
        largest_in_flight=creation.largest_in_flight,
        broken_connections=creation.broken,
        hosts=hosts,
        created=len(created),
        failed=count - len(created),
        wall_seconds=round(wall, 3),
        accepted_seconds=_accepted(client, begun),
        vms_per_second=round(len(created) / wall, 1),
        p50_ms=p50,
        p99_ms=p99,
        max_ms=longest,
        node_cpu_seconds=round(after.cpu_seconds - before.cpu_seconds, 2),
        node_peak_memory_bytes=gauge.peak_bytes(after),
        processes=[
            *meter.read(),
            Process(name="bench", cpu_seconds=round(own, 2), peak_memory_bytes=own_peak_bytes()),
        ],
        store=after.store,
        durable=after.durable,
        bus=after.bus,
        nodes=total(client, "ManagementNode") or 1,
        vms=total(client, "VmInstance"),
        errors=dict(Counter(one.error for one in creation.ended if one.error is not None)),
        left=left,
    )


def _accepted(client: Client, begun: datetime) -> float | None:
    """The seconds until the last call was a job, by the node's clock."""
    options = (("sort", "-createDate"), ("limit", "1"), ("fields", "createDate"))
    found = client.query(
        "Job", ("api=CreateVmInstance", f"createDate>={begun.isoformat()}"), options=options
    ).inventories
    if not found:
        return None
    return round((datetime.fromisoformat(str(found[0]["createDate"])) - begun).total_seconds(), 3)


def _run(creation: Creation) -> None:
    try:
        uvloop.run(creation.run())
    except BaseExceptionGroup as group:
        error = _first(group)
        if isinstance(error, ConnectionError):
            raise refused(f"The node broke the connection: {error}.", code="bench.lost") from group
        raise error from group


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _prepare(api: Api, simulator_url: str, hosts: int | None, *, quiet: bool) -> None:
    from cairn.cli.up import simulated

    wanted = hosts or len(simulated.hosts(simulator_url))
    simulated.fill(api, simulator_url, wanted, Report(None if quiet else sys.stderr))


def _show(measured: Measured) -> None:
    durable = {True: "durable", False: "not durable", None: "durability unknown"}[measured.durable]
    output.record(
        {
            "created": f"{measured.created} of {measured.count}, {measured.concurrency} at a time, {measured.hosts} hosts",
            "connections": f"{measured.connections}, at most {measured.largest_in_flight} calls in flight",
            "all accepted after": "-" if measured.accepted_seconds is None else f"{measured.accepted_seconds:.2f} s",
            "failed": measured.failed,
            "wall time": f"{measured.wall_seconds:.2f} s",
            "VMs per second": f"{measured.vms_per_second:.1f}",
            "p50 / p99 / max": " / ".join(_ms(one) for one in (measured.p50_ms, measured.p99_ms, measured.max_ms)),
            "node's CPU": f"{measured.node_cpu_seconds:.2f} s",
            "node's peak memory": output.human_bytes(measured.node_peak_memory_bytes),
            "store": f"{measured.store}, {durable}",
            "errors": measured.errors,
        }
    )
    if measured.left:
        output.say(f"{measured.left} VMs could not be removed. Look at them: cairn query VmInstance 'name~=bench-%'")


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"
