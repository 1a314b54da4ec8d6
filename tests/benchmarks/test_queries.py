"""A query costs what it finds, however many VMs there are: the same in a cloud of 1,000 VMs and in one of 50,000.

Counted are the steps of the database's machine, which do not depend on how busy this one is. Only ratios inside one run count.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec import Struct
from msgspec.structs import replace

from cairn.bootstrap import load_plugins
from cairn.cli.bench.population import Population, Size
from cairn.kernel.assembly import make_schema
from cairn.kernel.error import CairnError
from cairn.kernel.query import QueryEngine, QueryRequest, Scope, TagTables
from cairn.kernel.query.catalog import Catalog
from cairn.kernel.query.plan import PATIENCE
from cairn.kernel.query.resolve import is_indexed
from cairn.kernel.settings import load
from cairn.kernel.store.driver import Row
from cairn.kernel.store.record import Kind, SqlValue
from cairn.kernel.store.store import Store, Tx
from cairn.services.identity.model import Account, AccountType
from cairn.testing.clock import VirtualClock

SCHEMA = make_schema(load_plugins(load({})))
ADMIN = "a" * 32
FEW, MANY = 1_000, 50_000
MOST = 1.3
_AT_A_TIME = 2_000
_GRAIN = 100
pytestmark = pytest.mark.asyncio(loop_scope="module")


class Site(Struct, frozen=True, eq=False):
    """A cloud, and one connection to its database that counts its steps."""

    vms: int
    population: Population
    store: Store
    engine: QueryEngine
    raw: sqlite3.Connection


async def made(folder: Path, vms: int) -> Site:
    """A cloud with ten VMs on a host and a hundred of each account, so that only its size differs."""
    path = folder / f"{vms}.db"
    store = await Store.open(path, SCHEMA, VirtualClock(), create_tables=True)
    population = Population(Size(hosts=vms // 10, vms=vms, accounts=vms // 100), ADMIN, SCHEMA, "hash")

    def place(tx: Tx) -> None:
        date = tx.now
        admin = Account(
            uuid=population.account(-1),
            name="admin",
            type=AccountType.SYSTEM_ADMIN,
            password_hash="x",
            create_date=date,
            last_op_date=date,
        )
        tx.insert(replace(admin, uuid=ADMIN))
        for row in population.place():
            tx.insert(row)
        for number in range(population.size.hosts):
            for row in population.host(number):
                tx.insert(row)

    await store.write(place)
    for first in range(0, vms, _AT_A_TIME):

        def some(tx: Tx, first: int = first) -> None:
            for number in range(first, min(first + _AT_A_TIME, vms)):
                for row in population.vm(number):
                    tx.insert(row)

        await store.write(some)
    raw = sqlite3.connect(path, check_same_thread=False)
    raw.execute("ANALYZE")
    return Site(vms, population, store, QueryEngine(SCHEMA, store, tags=TagTables()), raw)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sites(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Site, Site]]:
    folder = tmp_path_factory.mktemp("clouds")
    few, many = await made(folder, FEW), await made(folder, MANY)
    yield few, many
    for site in (few, many):
        site.raw.close()
        await site.store.close()


class Meter:
    """A transaction that counts the steps of what it runs, and keeps the plans."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw
        self.steps = 0
        self.plans: list[str] = []

    def fetch(self, sql: str, values: tuple[SqlValue, ...]) -> list[Row]:
        plan = self._raw.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
        self.plans.append("; ".join(str(step[3]) for step in plan))
        ticks = 0

        def tick() -> int:
            nonlocal ticks
            ticks += 1
            return 0

        self._raw.set_progress_handler(tick, _GRAIN)
        try:
            return self._raw.execute(sql, values).fetchall()
        finally:
            self.steps += ticks * _GRAIN
            self._raw.set_progress_handler(None, _GRAIN)

    def fetch_within(self, sql: str, values: tuple[SqlValue, ...], steps: int) -> list[Row] | None:
        before = self.steps
        found = self.fetch(sql, values)
        if self.steps - before <= steps:
            return found
        self.steps = before + steps
        return None


def ask(site: Site, request: QueryRequest, owner: str | None) -> Meter:
    """What a query costs."""
    meter = Meter(site.raw)
    site.engine.run_in(meter, request, Scope(owner))  # type: ignore[arg-type]
    return meter


async def middle(site: Site, sort: str | None, owner: str | None) -> str | None:
    """The end of the page before the middle one."""
    start = site.vms // (200 if owner else 2)
    request = QueryRequest(entity="VmInstance", sort=sort, start=start, limit=1)
    return (await site.engine.run(request, Scope(owner))).next


QUERIES: dict[str, tuple[bool, dict[str, object]]] = {
    "a page": (False, {}),
    "a page in another order": (False, {"sort": "-createDate"}),
    "a page in the order of a state": (False, {"sort": "state"}),
    "a page in the middle": (False, {"middle": True}),
    "a page in the middle of another order": (False, {"sort": "-name", "middle": True}),
    "VMs of a name": (False, {"conditions": ["name=vm-0-0000777"]}),
    "VMs of a host": (False, {"conditions": ["host.name=host-0-0000007"]}),
    "VMs of a host in another order": (False, {"conditions": ["host.name=host-0-0000007"], "sort": "-createDate"}),
    "VMs of a host in a state": (False, {"conditions": ["host.name=host-0-0000007", "state=Running"]}),
    "VMs of a network card": (False, {"conditions": ["vmNics.mac=fa:00:00:00:00:07"]}),
    "VMs in a state": (False, {"conditions": ["state=Stopped"]}),
    "count VMs of a host": (False, {"conditions": ["host.name=host-0-0000007"], "count": True}),
    "count no further": (False, {"conditions": ["state=Running"], "count": True, "count_up_to": 500}),
    "an account's page": (True, {}),
    "an account's page in another order": (True, {"sort": "-createDate"}),
    "an account's page in the middle": (True, {"sort": "name", "middle": True}),
    "an account's VMs in a state": (True, {"conditions": ["state=Stopped"]}),
    "an account's VMs with a tag": (True, {"conditions": ["__userTag__~=team-%"]}),
    "an account's network cards": (True, {"entity": "VmNic"}),
    "count an account's VMs": (True, {"count": True}),
    "count an account's VMs in a state": (True, {"conditions": ["state=Stopped"], "count": True}),
    "count an account's network cards": (True, {"entity": "VmNic", "count": True}),
}


@pytest.mark.parametrize("what", QUERIES)
async def test_a_query_costs_the_same_among_many_vms_as_among_few(what: str, sites: tuple[Site, Site]) -> None:
    owned, given = QUERIES[what]
    steps: list[int] = []
    for site in sites:
        owner = site.population.account(3) if owned else None
        more = {name: value for name, value in given.items() if name != "middle"}
        after = await middle(site, str(more["sort"]) if "sort" in more else None, owner) if "middle" in given else None
        request = QueryRequest(**{"entity": "VmInstance", "limit": 20, "after": after, **more})  # type: ignore[arg-type]
        meter = ask(site, request, owner)
        steps.append(meter.steps + 1000)  # what is less than that is noise
    assert steps[1] / steps[0] < MOST, steps


async def test_what_few_have_in_common_is_not_looked_for_in_all(sites: tuple[Site, Site]) -> None:
    """Two conditions that many VMs fit, and no VM fits both: those that fit one of them are gone through, not all VMs."""
    site = sites[1]
    conditions = ["cluster.name=cluster-0-0000002", "state=Paused", "vmNics.l3Network.name=net-0-0000001"]
    meter = ask(site, QueryRequest(entity="VmInstance", conditions=conditions, limit=20), None)
    assert meter.steps < 10 * PATIENCE
    assert not any("SCAN a" in plan for plan in meter.plans[-1:])


CATALOG = Catalog(SCHEMA, TagTables())
_VALUES = {Kind.INT: "7", Kind.FLOAT: "7.5", Kind.BOOL: "true", Kind.TIME: "2026-01-01T00:00:07Z"}


def looked_for() -> list[tuple[str, str]]:
    """Each field of each entity that an index leads to, and each way from an entity to another, with the key at its end."""
    found: list[tuple[str, str]] = []
    for name, entity in CATALOG.entities.items():
        for column in entity.columns.values():
            if is_indexed(column.field) and not column.hops:
                value = column.field.choices[0] if column.field.choices else _VALUES.get(column.field.kind, "x" * 32)
                found.append((name, f"{column.name}={value}"))
        for join in entity.joins.values():
            key = CATALOG.entities[join.target].key
            found.append((name, f"{join.name}.{key.wire}={_VALUES.get(key.kind, 'x' * 32)}"))
    return found


@pytest.mark.parametrize("count", [False, True])
@pytest.mark.parametrize("owned", [False, True])
async def test_no_condition_that_an_index_leads_to_goes_through_a_table(
    owned: bool, count: bool, sites: tuple[Site, Site]
) -> None:
    site = sites[1]
    owner = site.population.account(3) if owned else None
    asked, scanned = 0, list[str]()
    for name, condition in looked_for():
        if name not in large(site):
            continue  # of a few rows it is no matter; and the rows of a subtype are its parent's
        request = QueryRequest(entity=name, conditions=[condition], count=count, limit=20)
        try:
            meter = ask(site, request, owner)
        except CairnError as error:
            assert owned, (name, condition, error)  # it is for administrators
            continue
        asked += 1
        scanned += [f"{name} {condition}: {plan}" for plan in meter.plans if re.search(r"\bSCAN a\b", plan)]
    assert asked > 30
    assert scanned == []


@cache
def large(site: Site) -> set[str]:
    """The entities that there are many of."""
    counts = {
        name: site.raw.execute(f"SELECT count(*) FROM {entity.base.meta.table}").fetchone()[0]
        for name, entity in CATALOG.entities.items()
        if entity.parent is None
    }
    return {name for name, count in counts.items() if count >= FEW}
