"""A whole cloud's database: looked through, dumped, and restored."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from cairn.kernel.health import Finding, Health
from cairn.kernel.store.dump import restore, verify, write_dump
from cairn.kernel.store.record import Record
from cairn.kernel.store.seal import Seals
from cairn.kernel.store.sqlite import SqliteDriver
from cairn.kernel.store.store import Store, Tx
from cairn.kernel.store.transaction import reading
from cairn.plugins.local_storage.model import LocalStorageHost
from cairn.services.host.model import Host
from cairn.services.l3.model import IpRange, ReleasedIp, UsedIp
from cairn.testing.clock import VirtualClock
from cairn.testing.cloud import Cloud
from cairn.testing.stores import on_mariadb

pytestmark = pytest.mark.skipif(
    on_mariadb(), reason="it copies a file of SQLite; test_database_on_server.py has a server's"
)
HEADS = {"cairn": "cairn_0001"}


def looked(cloud: Cloud, path: Path) -> list[Finding]:
    path.write_bytes(cloud.store.content())
    driver, schema = SqliteDriver(path), cloud.store.schema
    with reading(driver, schema, cloud.store.seals) as (connection, tx):
        checks = Health(connection, driver, schema, cloud.store.seals).checks(tx, cloud._loaded.audits)
        return [finding for _, findings in checks for finding in findings]


async def work(cloud: Cloud) -> None:
    """A site with VMs in some states, one that is gone, and a call that failed."""
    await cloud.make_site()
    vms = [str((await cloud.create_vm(f"vm-{number}"))["uuid"]) for number in range(4)]
    await cloud.call("StopVmInstance", uuid=vms[0])
    for vm in vms[1:3]:
        await cloud.call("DestroyVmInstance", uuid=vm)
    await cloud.call("ExpungeVmInstance", uuid=vms[1])


async def test_books_of_a_cloud_that_worked_are_right_and_what_is_wrong_is_found(tmp_path: Path) -> None:
    async with Cloud.open(hosts=2) as cloud:
        await work(cloud)
        assert looked(cloud, tmp_path / "fine.db") == []

        def spoil(tx: Tx) -> None:
            host = tx.find(Host, order_by="name")[0]
            tx.update(Host, host.uuid, available_memory_capacity=host.available_memory_capacity + 7)
            disk = tx.find(LocalStorageHost, host_uuid=host.uuid)[0]
            tx.update(LocalStorageHost, disk.uuid, booked_capacity=disk.booked_capacity - 5)
            range_, used = tx.find(IpRange)[0], tx.find(UsedIp)[0]
            tx.insert(ReleasedIp(ip_range_uuid=range_.uuid, ip_in_long=used.ip_in_long))

        await cloud.store.write(spoil)
        found = looked(cloud, tmp_path / "spoilt.db")

    assert [one.check for one in found] == ["host capacity", "addresses", "addresses", "local storage"]
    assert "-7 bytes of memory" in found[0].what
    assert "off by -1" in found[2].what
    assert "-5 bytes more" in found[3].what


@pytest.mark.parametrize("name", ["d", "d.gz"])
async def test_all_records_of_a_cloud_come_back(tmp_path: Path, name: str) -> None:
    async with Cloud.open(hosts=2) as cloud:
        await work(cloud)
        schema, seals = cloud.store.schema, cloud.store.seals
        (tmp_path / "a.db").write_bytes(cloud.store.content())

    source, told = SqliteDriver(tmp_path / "a.db"), set[str]()
    write_dump(
        tmp_path / name,
        source,
        schema,
        version="1",
        created="",
        heads=HEADS,
        progress=lambda table, rows: told.add(table),
    )
    store = await Store.open(tmp_path / "b.db", schema, VirtualClock(), inline=True, create_tables=True, seals=seals)
    await store.close()
    content = verify(tmp_path / name, HEADS, schema)
    restore(tmp_path / name, content, SqliteDriver(tmp_path / "b.db"), schema, force=False, progress=lambda *_: None)

    before = await _records(tmp_path / "a.db", cloud, seals)
    assert await _records(tmp_path / "b.db", cloud, seals) == before
    assert {"vm_instance", "host", "job", "event", "session"} <= told


async def test_hosts_obey_a_cloud_whose_database_was_put_back() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        vm = str((await cloud.create_vm("vm"))["uuid"])
        backup = cloud.save()
        for _ in range(3):
            await cloud.revive()  # each start counts up
        await cloud.call("StopVmInstance", uuid=vm)
        await cloud.call("StartVmInstance", uuid=vm)
        heard = cloud.world.hosts["sim-0001"].epochs[f"vm:{vm}"]
        await cloud.quiet(60)
        restored = replace(cloud.save(), content=backup.content)

    async with Cloud.open(saved=restored) as again:
        await again.call("StopVmInstance", uuid=vm)

        (line,) = [line for line in again.agents.book if line.command == "vm.stop"]
        assert line.turn is not None
        assert (line.refused, line.turn.resource, line.turn.epoch > heard) == (False, f"vm:{vm}", True)


async def _records(path: Path, cloud: Cloud, seals: Seals) -> dict[str, list[Record]]:
    store = await Store.open(path, cloud.store.schema, VirtualClock(), inline=True, seals=seals)
    records = cloud.store.schema.by_table
    found: dict[str, list[Record]] = await store.read(
        lambda tx: {table: tx.find(one.record, order_by=one.key.name) for table, one in records.items()}
    )
    await store.close()
    return found
