"""``cairn bench hosts``: adds simulated hosts, and says how long that takes and what it costs."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Iterator, Sequence

import click
import uvloop
from msgspec import Struct

from cairn.cli import output
from cairn.cli.bench.gauge import Process
from cairn.cli.bench.load import Call, Load, times
from cairn.cli.bench.measuring import Cloud, Measuring, check_files, errors, milliseconds, show
from cairn.cli.client import Json
from cairn.cli.context import Context, common, pass_context
from cairn.cli.errors import Exit, refused
from cairn.cli.up import simulated
from cairn.cli.up.api import ClientApi
from cairn.cli.up.report import Report


class AddedHosts(Struct, frozen=True, kw_only=True):
    """The result of a run."""

    added: int
    failed: int
    concurrency: int
    largest_in_flight: int
    broken_connections: int
    wall_seconds: float
    hosts_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    errors: dict[str, int]  #: code -> how often
    cloud: Cloud  #: afterwards
    processes: list[Process]


@click.command("hosts")
@click.option(
    "--count", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="How many hosts to add."
)
@click.option(
    "--concurrency", type=click.IntRange(1, 10_000), default=500, show_default=True, help="How many in flight."
)
@click.option("--simulator-url", required=True, help="A simulator that plays at least so many more than the cloud has.")
@common
@pass_context
def hosts(context: Context, count: int, concurrency: int, simulator_url: str) -> None:
    """Add hosts of a simulator through the API, and say how long that takes.

    The cloud around them is made, as far as it is missing: zone, cluster, networks, storage. The hosts stay.

    \b
    cairn simulator --hosts 1000 & cairn bench hosts --count 1000 --simulator-url http://127.0.0.1:7190
    """
    url = simulator_url.rstrip("/")
    api = ClientApi(context.client)
    place, _, _ = simulated.fill(api, url, 0, Report(None if context.as_json else sys.stderr))
    there = {str(host["managementIp"]) for host in api.find("Host")}
    wanted = [host for host in simulated.hosts(url) if host.address not in there][:count]
    if len(wanted) < count:
        raise refused(
            f"The simulator at {url} plays {len(wanted)} hosts that the cloud does not have, and {count} are asked for. Start "
            "one that plays more, or ask for fewer.",
            code="bench.few-hosts",
        )
    concurrency = min(concurrency, count)
    check_files(concurrency)
    measuring = Measuring(context)
    load = Load(measuring.origin, calls([host_values(host, place.cluster, url) for host in wanted]), concurrency)
    started = time.perf_counter()
    uvloop.run(load.run())
    wall = time.perf_counter() - started
    p50, p99, longest = times(load.ended)
    added = sum(one.error is None for one in load.ended)
    result = AddedHosts(
        added=added,
        failed=count - added,
        concurrency=concurrency,
        largest_in_flight=load.largest_in_flight,
        broken_connections=load.broken,
        wall_seconds=round(wall, 3),
        hosts_per_second=round(added / wall, 1),
        p50_ms=p50,
        p99_ms=p99,
        max_ms=longest,
        errors=errors(load.ended),
        cloud=measuring.cloud(),
        processes=measuring.processes(),
    )
    if context.as_json:
        output.print_json(result)
    else:
        _show(result)
    if result.failed:
        sys.exit(Exit.REFUSED)


def host_values(host: simulated.SimulatedHost, cluster: str, simulator_url: str) -> Json:
    """What a simulated host is added with."""
    return {
        "name": host.name,
        "managementIp": host.address,
        "clusterUuid": cluster,
        "url": f"{simulator_url}{host.path}",
        "resourceUuid": uuid.uuid4().hex,
    }


def calls(hosts: Sequence[Json]) -> Iterator[Call]:
    """The calls that add these hosts."""
    for values in hosts:
        yield Call(
            kind="add host",
            verb="POST",
            target="/v1/hosts/simulators",
            body={"params": values},
            subject=str(values["resourceUuid"]),
            job=uuid.uuid4().hex,
        )


def _show(result: AddedHosts) -> None:
    output.record(
        {
            "added": f"{result.added} hosts, {result.concurrency} at a time (at most {result.largest_in_flight} in flight)",
            "failed": result.failed,
            "wall time": f"{result.wall_seconds:.2f} s, {result.hosts_per_second:.0f} hosts a second",
            "p50 / p99 / max": milliseconds(result.p50_ms, result.p99_ms, result.max_ms),
            **show(result.cloud, result.processes),
            "errors": result.errors,
        }
    )
