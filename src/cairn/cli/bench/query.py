"""``cairn bench query``: how long queries take, by their kind."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from functools import cache

import click
import uvloop
from msgspec import Struct

from cairn.cli import output
from cairn.cli.bench.around import Meter, around
from cairn.cli.bench.asking import OF_ACCOUNT, OF_ALL, Asking, Kind, Sample, Timed, deep, sample_of
from cairn.cli.bench.gauge import Gauge, Process, own_peak_bytes
from cairn.cli.bench.measuring import others
from cairn.cli.bench.wire import Origin
from cairn.cli.client import Client
from cairn.cli.context import Context, common, pass_context
from cairn.cli.errors import refused
from cairn.cli.session import Session

#: of the accounts that `cairn bench populate` makes; a secret is no argument
PASSWORD_VARIABLE = "CAIRN_BENCH_PASSWORD"  # noqa: S105 (the name of a variable)


class Queried(Struct, frozen=True, kw_only=True):
    """The result of a run."""

    hosts: int
    vms: int
    concurrency: int
    queries: list[Timed]
    skipped: list[str]  #: kinds that were not asked, with the reason
    processes: list[Process]
    store: str
    durable: bool | None
    bus: str
    nodes: int


@click.command("query")
@click.option("--repeat", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Each kind so often.")
@click.option("--concurrency", type=click.IntRange(1, 1000), default=1, show_default=True, help="How many at a time.")
@click.option(
    "--samples", type=click.IntRange(1, 1000), default=20, show_default=True, help="VMs to ask for, by chance."
)
@click.option("--account", default="account-0-0000001", show_default=True, help="Whose queries are asked, too.")
@common
@pass_context
def query(context: Context, repeat: int, concurrency: int, samples: int, account: str) -> None:
    """Ask all kinds of queries, and say how long each takes.

    \b
    The cloud may be one of `cairn bench populate`. Queries of an account are asked if its password is in CAIRN_BENCH_PASSWORD,
    at the time of populating, too.
    """
    client = context.client
    origin = Origin(client.url, client.session_uuid(), context.ca_file)
    gauge = Gauge(client.http, context.data_dir, headers={"Authorization": f"OAuth {client.session_uuid()}"})
    found = _samples(client, samples)
    total = _total(client, "VmInstance")
    kinds = [*OF_ALL, *deep(total, _middle(client, total))]
    meter = Meter(around([client.url, *others(client)]))
    timed = _ask(Asking(origin, found, repeat, concurrency, lambda: gauge.read().cpu_seconds), kinds)
    session, skipped = _session(context, account), list[str]()
    if session is not None:
        owner = Origin(client.url, session.uuid, context.ca_file)
        timed += _ask(Asking(owner, found, repeat, 1, lambda: gauge.read().cpu_seconds), OF_ACCOUNT)
    else:
        skipped = [f"{kind.name}: {PASSWORD_VARIABLE} has no password" for kind in OF_ACCOUNT]
    after = gauge.read()
    result = Queried(
        hosts=_total(client, "Host"),
        vms=total,
        concurrency=concurrency,
        queries=timed,
        skipped=skipped,
        processes=[
            *meter.read(),
            Process(name="bench", cpu_seconds=round(time.process_time(), 2), peak_memory_bytes=own_peak_bytes()),
        ],
        store=after.store,
        durable=after.durable,
        bus=after.bus,
        nodes=_total(client, "ManagementNode"),
    )
    if context.as_json:
        output.print_json(result)
    else:
        _show(result)


def _ask(asking: Asking, kinds: Sequence[Kind]) -> list[Timed]:
    async def all_of_them() -> list[Timed]:
        return [await asking.run(kind) for kind in kinds]

    return uvloop.run(all_of_them())


def _total(client: Client, entity: str) -> int:
    return client.query(entity, options=(("count", "true"),)).total or 0


def _middle(client: Client, total: int) -> str | None:
    """What the page in the middle begins behind."""
    if total < 4:
        return None
    return client.query("VmInstance", options=(("start", str(total // 2)), ("limit", "1"), ("fields", "uuid"))).next


def _samples(client: Client, count: int) -> list[Sample]:
    """VMs by chance: those that come first behind random uuids."""

    @cache
    def name(entity: str, uuid: str) -> str:
        return str(client.query(entity, [f"uuid={uuid}"], options=(("fields", "name"),)).inventories[0]["name"])

    vms = []
    for _ in range(count):
        options = (("sort", "+uuid"), ("limit", "1"))
        for condition in ([f"uuid>={secrets.token_hex(16)}"], []):
            if page := client.query("VmInstance", condition, options=options).inventories:
                vms.append(page[0])
                break
    if not vms:
        raise refused(
            "There are no VMs to ask for. Make some: cairn bench populate, or cairn bench vm --keep.",
            code="bench.no-cloud",
        )
    return [sample_of(vm, name) for vm in vms]


def _session(context: Context, account: str) -> Session | None:
    """A session of the account, if its password is known. The user's own stays as it is."""
    password = context.environment.get(PASSWORD_VARIABLE)
    return None if password is None else context.client.session_of(account, password)


def _show(result: Queried) -> None:
    output.say(f"{result.vms} VMs on {result.hosts} hosts, {result.store}, {result.concurrency} at a time")
    output.table(
        ("query", "rows", "count", "p50 ms", "p99 ms", "max ms", "node's CPU, ms"),
        (
            (
                one.name,
                str(one.rows),
                "" if one.total is None else str(one.total),
                f"{one.p50_ms:.1f}",
                f"{one.p99_ms:.1f}",
                f"{one.max_ms:.1f}",
                f"{one.node_cpu_ms:.1f}" + "".join(f" {code}: {count}" for code, count in one.failed.items()),
            )
            for one in result.queries
        ),
    )
    for line in result.skipped:
        output.say(f"not asked: {line}")
