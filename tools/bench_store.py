"""Measure the store and the query engine: ``python tools/bench_store.py [--vms 100000] [--folder DIR]``.

Prints microseconds of CPU (user and system, all threads) and of wall clock per operation. The create-VM script is the
one of the design: 15 statements in 6 transactions, 100 VMs at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar

from sqlalchemy import bindparam, select, update

from cairn.kernel.clock import SystemClock
from cairn.kernel.query import QueryEngine, QueryRequest
from cairn.kernel.store import Index, Key, Owner, Record, References, Schema, Store, TableMeta, Tx, Visible, table_of

HOSTS = 1000
AT_ONCE = 100
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Host(Record, frozen=True, kw_only=True):
    """Where VMs run."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="host", entity="Host", visible=Visible.PUBLIC, indexes=(("state", "free_memory"),)
    )
    uuid: Annotated[str, Key()]
    name: Annotated[str, Index()]
    state: Annotated[str, Index()] = "Enabled"
    free_memory: int = 10**15


class L3(Record, frozen=True, kw_only=True):
    """A network."""

    meta: ClassVar[TableMeta] = TableMeta(table="l3", entity="L3Network", visible=Visible.PUBLIC)
    uuid: Annotated[str, Key()]
    name: Annotated[str, Index()]


class Vm(Record, frozen=True, kw_only=True):
    """A VM of some twenty fields."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="vm", entity="VmInstance", nested={"vmNics": "VmNic.vm_uuid", "allVolumes": "Volume.vm_uuid"}
    )
    uuid: Annotated[str, Key()]
    name: Annotated[str, Index()]
    description: str | None = None
    account_uuid: Annotated[str, Owner(), Index()] = "admin"
    state: Annotated[str, Index()] = "Starting"
    host_uuid: Annotated[str | None, References("host", join="host", back="vms")] = None
    last_host_uuid: str | None = None
    image_uuid: str | None = None
    instance_offering_uuid: str | None = None
    root_volume_uuid: Annotated[str | None, Index()] = None
    default_l3_network_uuid: str | None = None
    platform: str = "Linux"
    architecture: str = "x86_64"
    type: str = "UserVm"
    hypervisor_type: str = "KVM"
    cpu_num: int = 1
    cpu_speed: int = 0
    memory_size: int = 1 << 30
    create_date: Annotated[datetime, Index()] = NOW
    last_op_date: datetime = NOW


class VmNic(Record, frozen=True, kw_only=True):
    """A network card."""

    meta: ClassVar[TableMeta] = TableMeta(table="vm_nic", entity="VmNic", owned_by="vm_uuid")
    uuid: Annotated[str, Key()]
    vm_uuid: Annotated[str, References("vm", join="vm", back="vmNics", on_delete="cascade")]
    l3_network_uuid: Annotated[str, References("l3", join="l3Network", back="vmNics")]
    ip: Annotated[str | None, Index()] = None
    mac: Annotated[str, Index()] = ""
    device_id: int = 0
    create_date: datetime = NOW


class Volume(Record, frozen=True, kw_only=True):
    """A disk."""

    meta: ClassVar[TableMeta] = TableMeta(table="volume", entity="Volume")
    uuid: Annotated[str, Key()]
    name: str = "root"
    account_uuid: Annotated[str, Owner(), Index()] = "admin"
    vm_uuid: Annotated[str, References("vm", join="vm", back="volumes")]
    status: str = "Creating"
    size: int = 1 << 30
    path: str | None = None
    create_date: datetime = NOW


class Job(Record, frozen=True, kw_only=True):
    """An accepted call."""

    meta: ClassVar[TableMeta] = TableMeta(table="job")
    uuid: Annotated[str, Key()]
    resource_uuid: Annotated[str, Index()]
    state: Annotated[str, Index()] = "running"
    message: dict[str, str] = {}
    journal: dict[str, int] = {}
    create_date: datetime = NOW


RECORDS: list[type[Record]] = [Host, L3, Vm, VmNic, Volume, Job]
_host = table_of(Host)
CLAIM = (
    update(_host)
    .values(free_memory=_host.c.free_memory - bindparam("need"))
    .where(_host.c.uuid == bindparam("host"), _host.c.free_memory >= bindparam("need"))
)
CANDIDATE = (
    select(_host.c.uuid)
    .where(_host.c.state == bindparam("state"), _host.c.free_memory >= bindparam("need"))
    .order_by(_host.c.free_memory.desc())
    .limit(1)
)


def uuid(prefix: str, number: int) -> str:
    """32 characters, scattered as real ones are."""
    return f"{(number * 0x9E3779B97F4A7C15) & (2**64 - 1):016x}{prefix:0>4}{number:012x}"


async def create_vm(store: Store, number: int) -> None:
    """15 statements in 6 transactions."""
    vm, job, l3 = uuid("a", number), uuid("b", number), uuid("c", number % 5)

    def accept(tx: Tx) -> None:
        tx.insert(Job(uuid=job, resource_uuid=vm, message={"name": f"vm-{number}", "l3": l3}, create_date=tx.now))
        tx.insert(Vm(uuid=vm, name=f"vm-{number}", create_date=tx.now, last_op_date=tx.now))

    def allocate(tx: Tx) -> str:
        host = str(tx.rows(CANDIDATE, {"state": "Enabled", "need": 1 << 30})[0][0])
        assert tx.execute(CLAIM, {"need": 1 << 30, "host": host}) == 1
        tx.update(Job, job, journal={"allocate": 1})
        return host

    def network(tx: Tx) -> None:
        tx.insert(VmNic(uuid=uuid("d", number), vm_uuid=vm, l3_network_uuid=l3, ip=f"10.{number}", mac=f"fa:{number}"))
        tx.update(Job, job, journal={"allocate": 1, "nic": 1})

    def volume(tx: Tx) -> None:
        tx.insert(Volume(uuid=uuid("e", number), vm_uuid=vm, create_date=tx.now))
        tx.update(Job, job, journal={"allocate": 1, "nic": 1, "volume": 1})

    def instantiate(tx: Tx, host: str) -> None:
        tx.update(Volume, uuid("e", number), status="Ready", path=f"/volumes/{number}")
        tx.update(Vm, vm, root_volume_uuid=uuid("e", number), host_uuid=host)

    def finish(tx: Tx) -> None:
        tx.update(Vm, vm, state="Running", last_op_date=tx.now)
        assert tx.get(Vm, vm) is not None
        tx.update(Job, job, state="done")

    await store.write(accept)
    host = await store.write(allocate)
    await store.write(network)
    await store.write(volume)
    await store.write(lambda tx: instantiate(tx, host))
    await store.write(finish)


class Meter:
    """Prints what each part took."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def lap(self, what: str, count: int) -> None:
        """Since the last lap."""
        cpu, wall = time.process_time() - self._cpu, time.perf_counter() - self._wall
        if what:
            print(f"{what:64} {cpu / count * 1e6:10.1f} us CPU {wall / count * 1e6:10.1f} us wall")
        self._cpu, self._wall = time.process_time(), time.perf_counter()


async def hot_statements(store: Store, meter: Meter, count: int) -> None:
    """Each kind of statement, many in one transaction."""

    async def run(what: str, call: Callable[[Tx, int], object]) -> None:
        meter.lap("", 10**9)
        await store.write(lambda tx: [call(tx, number) for number in range(count)])
        meter.lap(what, count)

    await run(
        "insert a job (6 columns, 3 indexes)",
        lambda tx, n: tx.insert(Job(uuid=uuid("f", n), resource_uuid=uuid("a", n))),
    )
    await run("update 1 field by key", lambda tx, n: tx.update(Job, uuid("f", n), journal={"a": n}))
    await run("get by key", lambda tx, n: tx.get(Job, uuid("f", n)))
    await run("find by an indexed field", lambda tx, n: tx.find(Job, resource_uuid=uuid("a", n)))
    await run(
        "claim by a SQLAlchemy statement", lambda tx, n: tx.execute(CLAIM, {"need": 1, "host": uuid("h", n % HOSTS)})
    )
    await run("delete by key", lambda tx, n: tx.delete(Job, uuid("f", n)))


async def in_batches(count: int, at_once: int, call: Callable[[int], Awaitable[None]]) -> None:
    """Keep `at_once` calls going."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await call(number)

    await asyncio.gather(*(worker() for _ in range(at_once)))


async def fill(store: Store, first: int, count: int) -> None:
    """VMs with one card and one volume each, all but the rare network and host alike."""
    for at in range(first, first + count, 10_000):
        numbers = range(at, min(at + 10_000, first + count))
        vms = [
            Vm(
                uuid=uuid("a", n),
                name=f"vm-{n}",
                state="Running" if n % 10 else "Stopped",
                host_uuid=uuid("h", n % HOSTS),
            )
            for n in numbers
        ]
        nics = [
            VmNic(uuid=uuid("d", n), vm_uuid=uuid("a", n), l3_network_uuid=uuid("c", 9 if n % 5_000 == 7 else n % 5))
            for n in numbers
        ]
        volumes = [Volume(uuid=uuid("e", n), vm_uuid=uuid("a", n)) for n in numbers]
        await store.write(partial(Tx.insert_many, records=[*vms, *nics, *volumes]))
    await store.optimize()


QUERIES: list[tuple[str, QueryRequest]] = [
    (text, QueryRequest(entity="VmInstance", conditions=text.split("&") if text else [], limit=100, **more))
    for text, more in (
        ("", {}),
        ("name=vm-77", {}),
        ("name~=vm-777%", {}),
        ("state=Running", {}),
        ("state=Stopped", {"sort": "-name"}),
        ("state=Running&vmNics.l3Network.name=flat", {}),
        ("state=Running&vmNics.l3Network.name=rare", {}),
        ("state=Running&vmNics.l3Network.name=none", {}),
        ("vmNics.l3Network.name=flat&host.name=host-7", {}),
        ("state=Stopped&vmNics.l3Network.name=flat", {"sort": "-createDate"}),
        ("state=Running", {"count": True}),
        ("state=Running&vmNics.l3Network.name=flat", {"count": True}),
        ("state=Running&vmNics.l3Network.name=rare", {"count": True}),
    )
]


async def queries(store: Store, meter: Meter, engine: QueryEngine, vms: int) -> None:
    """Reads of one VM, and queries."""

    def many(tx: Tx) -> None:
        for number in range(2000):
            assert engine.inventory(tx, "VmInstance", uuid("a", number * 7 % vms))

    await store.read(many)
    meter.lap("", 10**9)
    await store.read(many)
    meter.lap("inventory of a VM with a card and a volume, by key", 2000)
    for text, request in QUERIES:
        await engine.run(request)
        meter.lap("", 10**9)
        answer = None
        for _ in range(5):
            answer = await engine.run(request)
        assert answer is not None
        size = answer.total if answer.total is not None else len(answer.inventories or [])
        meter.lap(f"{'count ' if request.count else ''}{text or 'all'} {request.sort or ''} -> {size}", 5)


async def main() -> None:
    """All measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vms", type=int, default=100_000, help="rows for the queries")
    parser.add_argument("--folder", type=Path, default=None, help="where the database is made")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        store = await Store.open(Path(folder) / "bench.db", Schema(RECORDS), SystemClock(), create_tables=True)
        await store.write(lambda tx: tx.insert_many([Host(uuid=uuid("h", n), name=f"host-{n}") for n in range(HOSTS)]))
        names = {0: "flat", 9: "rare"}
        await store.write(
            lambda tx: tx.insert_many([L3(uuid=uuid("c", n), name=names.get(n, f"l3-{n}")) for n in range(10)])
        )
        await store.optimize()
        meter = Meter()
        await hot_statements(store, meter, 20_000)
        for at_once, count in ((1, 500), (AT_ONCE, 5_000)):
            meter.lap("", 10**9)
            base = 10**7 * at_once
            await in_batches(count, at_once, lambda n, base=base: create_vm(store, base + n))  # type: ignore[misc]
            meter.lap(f"create-VM script, {at_once} at a time, every commit flushed", count)
        await fill(store, 0, arguments.vms)
        meter.lap(f"fill in {arguments.vms} VMs", arguments.vms)
        await queries(store, meter, QueryEngine(store.schema, store), arguments.vms)
        await store.close()


if __name__ == "__main__":
    asyncio.run(main())
