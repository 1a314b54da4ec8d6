"""Measure queries on a database that `cairn bench populate` has filled: ``python tools/bench_queries.py FOLDER [--repeat 10]``.

The kinds are those of `cairn bench query`, asked straight at the query engine: no HTTP, no other work of a node. Printed is CPU
(user and system, all threads), which depends less than time does on what else the machine has to do. No node may run.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from cairn.bootstrap import load_plugins
from cairn.cli.bench.asking import HOSTS, NICS, OF_ACCOUNT, OF_ALL, VMS, VOLUMES, Kind, Sample, deep, sample_of
from cairn.gateway.queries import Asked, request_of
from cairn.gateway.shape import Shape
from cairn.kernel.assembly import make_schema
from cairn.kernel.clock import SystemClock
from cairn.kernel.query import QueryEngine, QueryRequest, Scope, TagTables
from cairn.kernel.settings import load
from cairn.kernel.store import Store

_ENTITIES: Final = {VMS: "VmInstance", NICS: "VmNic", VOLUMES: "Volume", HOSTS: "Host"}
_ASKED: Final = Shape(Asked, "Query")
_SAMPLES: Final = 20
_ACCOUNT: Final = "account-0-0000001"


async def measure(engine: QueryEngine, kind: Kind, samples: Sequence[Sample], scope: Scope, repeat: int) -> list[float]:
    """The seconds of CPU of each query, sorted."""
    seconds: list[float] = []
    for sample in islice(cycle(samples), repeat):
        request = request_of(_ENTITIES[kind.path], _ASKED.of_query(list(kind.ask(sample))))
        started = time.process_time()
        await engine.run(request, scope)
        seconds.append(time.process_time() - started)
    return sorted(seconds)


async def some(engine: QueryEngine, total: int) -> list[Sample]:
    """VMs from all parts of the cloud."""
    names: dict[tuple[str, str], str] = {}

    async def learn(entity: str, uuid: object) -> None:
        inventory = await engine.get(entity, str(uuid))
        names[entity, str(uuid)] = str(inventory["name"]) if inventory else ""

    found: list[Sample] = []
    for number in range(_SAMPLES):
        request = QueryRequest(entity="VmInstance", start=number * total // _SAMPLES, limit=1)
        for vm in (await engine.run(request)).inventories or []:
            nics = vm["vmNics"]
            assert isinstance(nics, list)
            await learn("Host", vm["hostUuid"] or vm["lastHostUuid"])
            await learn("Cluster", vm["clusterUuid"])
            await learn("L3Network", nics[0]["l3NetworkUuid"])
            found.append(sample_of(vm, lambda entity, uuid: names[entity, uuid]))
    return found


async def main(folder: Path, repeat: int) -> None:
    """Print a line for each kind."""
    schema = make_schema(load_plugins(load({})))
    store = await Store.open(folder / "cairn.db", schema, SystemClock())
    engine = QueryEngine(schema, store, tags=TagTables(), timeout_seconds=lambda: 600.0)
    total = (await engine.run(QueryRequest(entity="VmInstance", count=True))).total or 0
    samples = await some(engine, total)
    middle = (await engine.run(QueryRequest(entity="VmInstance", start=total // 2, limit=1))).next
    accounts = (await engine.run(QueryRequest(entity="Account", conditions=[f"name={_ACCOUNT}"]))).inventories or []
    print(f"{total} VMs; ms of CPU\n{'query':45} {'median':>8} {'most':>8}")
    asked = [(kind, Scope()) for kind in [*OF_ALL, *deep(total, middle)]]
    asked += [(kind, Scope(str(account["uuid"]))) for account in accounts for kind in OF_ACCOUNT]
    for kind, scope in asked:
        seconds = await measure(engine, kind, samples, scope, repeat)
        print(f"{kind.name:45} {seconds[len(seconds) // 2] * 1000:8.1f} {seconds[-1] * 1000:8.1f}")
    await store.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the data folder")
    parser.add_argument("--repeat", type=int, default=10)
    given = parser.parse_args()
    asyncio.run(main(given.folder, given.repeat))
