"""``cairn bench populate --hosts 100000 --vms 1000000``: fills the database of a node that does not run."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import click
import uvloop
from msgspec import Struct

from cairn.agents.protocol.host import Connect
from cairn.cli import output
from cairn.cli.bench.population import MOST_VMS_PER_HOST, Population, Size
from cairn.cli.bench.query import PASSWORD_VARIABLE
from cairn.cli.context import Context, common, pass_context
from cairn.cli.errors import refused, usage
from cairn.cli.up.report import Report
from cairn.kernel.agent.client import AgentEndpoint
from cairn.kernel.error import CairnError

if TYPE_CHECKING:
    from cairn.kernel.agent.client import AgentClient
    from cairn.kernel.plugin.context import NodeContext
    from cairn.kernel.store.record import Record
    from cairn.kernel.store.store import Store, Tx

#: in one commit
_AT_A_TIME = 20_000
_QUIET_SECONDS = "3600"
_MET_AT_ONCE = 16
_MEETING_SECONDS = 30.0


class Populated(Struct, frozen=True, kw_only=True):
    """What was written."""

    hosts: int
    vms: int
    accounts: int
    seed: int
    rows: int
    store: str
    wall_seconds: float
    cpu_seconds: float
    first_account: str  #: the uuid of one of the accounts
    wrong: list[str]  #: in the books: nothing


@click.command("populate")
@click.option("--hosts", type=click.IntRange(1, 200_000), default=100, show_default=True, help="How many hosts.")
@click.option("--vms", type=click.IntRange(0, 2_000_000), default=1000, show_default=True, help="How many VMs.")
@click.option("--accounts", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Who own them.")
@click.option("--seed", type=click.IntRange(0, 255), default=0, show_default=True, help="Another one is another cloud.")
@click.option("--simulator-url", default="http://127.0.0.1:1", show_default=True, help="Where the hosts' agents are.")
@click.option(
    "--direct", is_flag=True, help="Write the rows, past the services. Needed: services take a millisecond a VM."
)
@click.option(
    "--meet", is_flag=True, help="Tell the simulator's hosts who they are: they can be pinged then. Without VMs only."
)
@click.option("--add", is_flag=True, help="Write beside what is there; the seed must be another one.")
@common
@pass_context
def populate(
    context: Context,
    hosts: int,
    vms: int,
    accounts: int,
    seed: int,
    simulator_url: str,
    direct: bool,
    meet: bool,
    add: bool,
) -> None:
    """Fill the database of a node that does not run with a cloud of any size, to measure how it bears it.

    The rows are those that services leave behind, and the books are checked at the end. No machine stands behind the hosts unless
    --meet says so, so they are pinged once an hour only; the same seed makes the same cloud. The accounts' password is
    CAIRN_BENCH_PASSWORD, or one that nobody knows.

    \b
    cairn bench populate --direct --hosts 100000 --vms 1000000
    cairn serve & cairn bench query
    cairn simulator --hosts 100000 & cairn bench populate --direct --hosts 100000 --vms 0 --meet \\
        --simulator-url http://127.0.0.1:7190
    cairn serve & cairn bench ping
    """
    if not direct:
        raise usage(
            "cairn bench populate writes rows past the services: say --direct. To make VMs through the services, use "
            "cairn bench vm --keep.",
            code="bench.not-direct",
        )
    if vms > hosts * MOST_VMS_PER_HOST:
        raise usage(
            f"{vms} VMs do not fit on {hosts} hosts; each takes at most {MOST_VMS_PER_HOST}.", code="bench.no-room"
        )
    if meet and vms:
        raise usage("--meet: the simulator's hosts have no VMs, so say --vms 0.", code="bench.no-vms")
    size = Size(hosts=hosts, vms=vms, accounts=accounts, seed=seed, simulator_url=simulator_url.rstrip("/"))
    report = Report(None if context.as_json else sys.stderr)
    try:
        populated = uvloop.run(_populate(context, size, report, add=add, meet=meet))
    except CairnError as error:
        raise refused(error.message, code=error.code) from error
    if context.as_json:
        output.print_json(populated)
    if populated.wrong:
        raise refused(f"The books do not agree: {'; '.join(populated.wrong)}.", code="bench.wrong-books")


async def _populate(context: Context, size: Size, report: Report, *, add: bool, meet: bool) -> Populated:
    from cairn.bootstrap import Node
    from cairn.kernel.settings import load

    node = await Node.build(load(context.environment, data_dir=context.data_dir))
    try:
        password = context.environment.get(PASSWORD_VARIABLE)
        return await fill(node.context, size, report, password, add=add, agents=node.context.agents if meet else None)
    finally:
        await node.stop()


async def fill(
    node: NodeContext,
    size: Size,
    report: Report,
    password: str | None = None,
    *,
    add: bool = False,
    agents: AgentClient | None = None,
) -> Populated:
    """Write a cloud of this size into a node's database.

    Args:
        node: that is not started.
        size: of the cloud.
        report: is told of each step.
        password: of the accounts; None: one that nobody knows.
        add: whether there may be another cloud already.
        agents: tells the hosts who they are; None: no machine stands behind them.

    Raises:
        CliError: there is one, and `add` does not say that there may be.
    """
    from cairn.cli.bench.books import wrong_books

    store = node.store
    started, cpu = time.perf_counter(), time.process_time()
    admin = await store.read(partial(_ready, add=add))
    population = Population(size, admin, store.schema, await asyncio.to_thread(_hash, password))
    rows = 0
    if agents is not None:
        with report.step(f"tell {size.hosts} hosts who they are"):
            await _meet(agents, population, report)
    with report.step("write the place"):
        rows += await _write(store, lambda _: population.place(), 1, report)
    with report.step(f"write {size.hosts} hosts"):
        rows += await _write(store, population.host, size.hosts, report)
    with report.step(f"write {size.vms} VMs"):
        rows += await _write(store, population.vm, size.vms, report)
    if agents is None:
        await store.write(_quiet)
    with report.step("bring the statistics up to date"):
        await store.optimize()
    with report.step("check the books"):
        wrong = await store.read(lambda tx: wrong_books(tx, store.schema))
        report.note("; ".join(wrong) or f"{rows} rows, all in order")
    return Populated(
        hosts=size.hosts,
        vms=size.vms,
        accounts=size.accounts,
        seed=size.seed,
        rows=rows,
        store=store.driver.dialect.name,
        wall_seconds=round(time.perf_counter() - started, 3),
        cpu_seconds=round(time.process_time() - cpu, 3),
        first_account=population.account(0),
        wrong=wrong,
    )


async def _meet(agents: AgentClient, population: Population, report: Report) -> None:
    """Do with each host's agent what connecting does, and note which start of it that was."""
    numbers = iter(range(population.size.hosts))

    async def worker() -> None:
        for number in numbers:
            endpoint = AgentEndpoint(population.agent_url(number))
            command = Connect(host=population.uuid("host", number), report_url=None)
            await agents.call(endpoint, command, timeout_seconds=_MEETING_SECONDS)
            population.boots[number] = (await agents.ping(endpoint, _MEETING_SECONDS)).boot
            if len(population.boots) % _AT_A_TIME == 0:
                report.progress(len(population.boots), population.size.hosts)

    async with asyncio.TaskGroup() as group:
        for _ in range(_MET_AT_ONCE):
            group.create_task(worker())


def _ready(tx: Tx, *, add: bool) -> str:
    """The account of an administrator, if the database may be written to."""
    from cairn.services.identity.model import Account, AccountType
    from cairn.services.zone.model import Zone

    if not add and tx.count(Zone):
        raise refused(
            "The database has a cloud already, and nothing was written. Use another data folder; or say --add with another "
            "--seed, to write beside it.",
            code="bench.not-empty",
        )
    return tx.find(Account, type=AccountType.SYSTEM_ADMIN, limit=1)[0].uuid


def _hash(password: str | None) -> str:
    from cairn.services.identity.passwords import interactive_hasher, sha512_hex

    return interactive_hasher().hash(sha512_hex(password or secrets.token_hex()))


async def _write(store: Store, one: Callable[[int], Iterator[Record]], count: int, report: Report) -> int:
    """Write the rows of so many things, `_AT_A_TIME` things in a commit, and say how far it is. Returns how many rows."""
    rows = 0
    for first in range(0, count, _AT_A_TIME):
        some = list(chain.from_iterable(map(one, range(first, min(first + _AT_A_TIME, count)))))
        await store.write(partial(_insert, some))
        rows += len(some)
        report.progress(min(first + _AT_A_TIME, count), count)
    return rows


def _insert(records: Sequence[Record], tx: Tx) -> None:
    """Those of a kind together: they come in the order in which their kinds refer to each other."""
    kinds: dict[type[Record], list[Record]] = {}
    for record in records:
        kinds.setdefault(type(record), []).append(record)
    for alike in kinds.values():
        tx.insert_many(alike)


def _quiet(tx: Tx) -> None:
    """Let hosts be pinged as rarely as can be: no machine stands behind them."""
    from cairn.kernel.config import GlobalConfigRow

    tx.update_where(GlobalConfigRow, {"category": "host", "name": "ping.interval"}, value=_QUIET_SECONDS)
