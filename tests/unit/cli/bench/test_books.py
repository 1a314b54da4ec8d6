from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from cairn.bootstrap import load_plugins
from cairn.cli.bench.books import wrong_books
from cairn.cli.bench.population import Population, Size
from cairn.kernel.assembly import make_schema
from cairn.kernel.resource import Resource
from cairn.kernel.settings import load
from cairn.kernel.store.record import Record
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store, Tx
from cairn.services.host.model import Host, HostClaim
from cairn.services.identity.model import Account, AccountType
from cairn.services.l3.model import IpRange, UsedIp
from cairn.services.vm.model import VmInstance, VmNic, VmState
from cairn.services.volume.model import Volume
from cairn.testing.clock import VirtualClock

SCHEMA = make_schema(load_plugins(load({})))
ADMIN = "a" * 32


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    """A cloud at rest."""
    made = await Store.memory(SCHEMA, VirtualClock(), inline=True)
    population = Population(Size(hosts=2, vms=20, accounts=2), ADMIN, SCHEMA, "hash")

    def fill(tx: Tx) -> None:
        tx.insert(
            Account(
                uuid=ADMIN,  # type: ignore[arg-type]
                name="admin",
                type=AccountType.SYSTEM_ADMIN,
                password_hash="x",
                create_date=tx.now,
                last_op_date=tx.now,
            )
        )
        tx.insert_many(population.place())
        for number in range(2):
            tx.insert_many(population.host(number))
        for number in range(20):
            tx.insert_many(population.vm(number))

    await made.write(fill)
    yield made
    await made.close()


def some(tx: Tx, kind: type[Record]) -> str:
    return str(getattr(tx.find(kind, limit=1)[0], "uuid", ""))


def running(tx: Tx) -> str:
    return tx.find(VmInstance, state=VmState.RUNNING, limit=1)[0].uuid


WRONG: dict[str, Callable[[Tx], object]] = {
    "hosts whose CPUs": lambda tx: tx.update(Host, some(tx, Host), available_cpu_capacity=1),
    "VMs that run and do not hold": lambda tx: tx.delete(HostClaim, running(tx)),
    "claims of VMs that do not run": lambda tx: tx.update(VmInstance, running(tx), state=VmState.STOPPED),
    "VMs without their root volume": lambda tx: tx.update(VmInstance, running(tx), root_volume_uuid="b" * 32),
    "network cards whose address": lambda tx: tx.update(VmNic, some(tx, VmNic), ip="10.0.0.1"),
    "addresses of VMs that no": lambda tx: tx.update(VmNic, some(tx, VmNic), used_ip_uuid=None),
    "addresses that their range": lambda tx: tx.update(IpRange, some(tx, IpRange), next_long=1),
    "VMs that are no resources": lambda tx: tx.update(Resource, running(tx), account_uuid=ADMIN),
    "volumes that are no resources": lambda tx: tx.update(Volume, some(tx, Volume), account_uuid=ADMIN),
    "hosts whose disks": lambda tx: tx.update(_share(tx), some(tx, _share(tx)), booked_capacity=1),
    "hosts that show more": lambda tx: tx.update(_share(tx), some(tx, _share(tx)), available_capacity=1 << 50),
}


def _share(tx: Tx) -> type[Record]:
    return tx.schema.by_table["local_storage_host_ref"].record


async def test_a_cloud_at_rest_has_its_books_in_order(store: Store) -> None:
    assert await store.read(lambda tx: wrong_books(tx, SCHEMA)) == []
    assert await store.read(lambda tx: tx.count(UsedIp)) == 21


@pytest.mark.parametrize("what", WRONG)
async def test_what_is_wrong_is_found(store: Store, what: str) -> None:
    def work(tx: Tx) -> list[str]:
        assert WRONG[what](tx) == 1
        return wrong_books(tx, SCHEMA)

    assert any(what in line for line in await store.write(work))


def test_without_local_storage_its_rules_are_left_out() -> None:
    from cairn.cli.bench.books import _local_storage

    assert _local_storage(Schema([])) == {}
