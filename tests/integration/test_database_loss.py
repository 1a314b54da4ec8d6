"""The database server is killed, or gives up what nodes do, while they have much to do: nothing is lost or done twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import bindparam, update
from tests.integration.kill_site import KillSite, kill_site
from tests.system.api import eventually
from tests.unit.kernel import sample
from tests.unit.kernel.sample import Entry, Host, HostId, Zone, ZoneId

from cairn.kernel.clock import SystemClock
from cairn.kernel.store import Store, Tx, table_of
from cairn.testing.mariadb import Server

VMS = 60
KILLS = 3
ENDED_SECONDS = 120
WRITERS = 8
BETWEEN_KILLS = 200
CROSSINGS = 100
_HOST = table_of(Host)
COUNT = update(_HOST).values(memory=_HOST.c.memory + 1).where(_HOST.c.uuid == bindparam("host"))


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of our own, which keeps what it has committed."""
    made = Server(durable=True)
    yield made
    made.stop()


def begin(site: KillSite) -> list[str]:
    return [site.begin_vm(f"vm-{number}") for number in range(VMS)]


def test_database_killed_three_times_under_many_calls_loses_and_doubles_nothing(tmp_path: Path, server: Server) -> None:
    with kill_site(tmp_path, server.url(server.create())) as site:
        site.turn(command="vm.start", delaySeconds=0.2, delayMaxSeconds=0.6)
        before = site.jobs_ended()
        jobs = begin(site)
        for killed in range(1, KILLS + 1):
            part = before + VMS * killed // (KILLS + 2)
            eventually(lambda part=part: site.jobs_ended() >= part, f"{part} jobs have ended", seconds=ENDED_SECONDS)  # type: ignore[misc]
            server.kill()
            server.start()
        eventually(lambda: site.jobs_ended() >= before + VMS, "all jobs have ended", seconds=ENDED_SECONDS)
        assert [site.ended(job) for job in jobs] == ["Succeeded"] * VMS
        site.wait_for_rest()
        assert site.vms_on_hosts() == VMS
        assert not site.node.killed


async def test_each_write_that_is_told_is_there_once_whenever_the_server_is_killed(server: Server) -> None:
    store = await Store.open(server.url(server.create()), sample.schema(), SystemClock(), create_tables=True)
    told: list[str] = []
    more = asyncio.Semaphore(0)  # one for each that was told
    going = True

    def count(text: str, tx: Tx) -> None:
        tx.insert(Entry(text=text))
        assert tx.execute(COUNT, {"host": "h"}) == 1

    async def writer(name: int) -> None:
        number = 0
        while going:
            text = f"{name}-{number}"
            await store.write(lambda tx, text=text: count(text, tx))  # type: ignore[misc]
            told.append(text)
            more.release()
            number += 1

    def first(tx: Tx) -> None:
        tx.insert(Zone(uuid=ZoneId("z"), name="z"))
        tx.insert(Host(uuid=HostId("h"), name="h", hypervisor_type="KVM", zone_uuid=ZoneId("z"), memory=0))

    await store.write(first)
    writers = [asyncio.create_task(writer(name)) for name in range(WRITERS)]
    for _ in range(KILLS):
        for _ in range(BETWEEN_KILLS):
            await more.acquire()
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
    going = False
    await asyncio.gather(*writers)
    found = [one.text for one in await store.read(lambda tx: tx.find(Entry))]
    host = await store.read(lambda tx: tx.get(Host, "h"))
    assert sorted(found) == sorted(told)
    assert host is not None and host.memory == len(told)
    assert store.trouble() is None
    await store.close()


async def test_nodes_that_get_into_each_others_way_all_get_their_work_done(server: Server) -> None:
    url = server.url(server.create())
    stores = [await Store.open(url, sample.schema(), SystemClock(), create_tables=True) for _ in range(2)]

    def first(tx: Tx) -> None:
        tx.insert(Zone(uuid=ZoneId("z"), name="z"))
        for host in "ab":
            tx.insert(Host(uuid=HostId(host), name=host, hypervisor_type="KVM", zone_uuid=ZoneId("z"), memory=0))

    def cross(tx: Tx, hosts: str) -> None:
        for host in hosts:
            assert tx.execute(COUNT, {"host": host}) == 1

    async def node(store: Store, hosts: str) -> None:
        for _ in range(CROSSINGS):
            await store.write(lambda tx: cross(tx, hosts))

    await stores[0].write(first)
    await asyncio.gather(node(stores[0], "ab"), node(stores[1], "ba"), node(stores[0], "ba"))
    found = await stores[1].read(lambda tx: {str(host.uuid): host.memory for host in tx.find(Host)})
    assert found == {"a": 3 * CROSSINGS, "b": 3 * CROSSINGS}
    for store in stores:
        await store.close()
