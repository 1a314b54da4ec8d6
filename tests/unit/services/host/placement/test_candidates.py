"""Looking for hosts: what it finds, and that it costs the same however many hosts there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from tests.unit.services.host.placement.test_allocator import MIB, Book, Refuses, host, need

from cairn.kernel.error import CairnError
from cairn.kernel.resource import write
from cairn.kernel.store.store import Tx
from cairn.services.cluster.model import Cluster
from cairn.services.host.extensions import ANYWHERE, Candidate, HostFilter, HostNeed, Places
from cairn.services.host.model import Host
from cairn.services.host.placement.candidates import BEHIND, MOST, Candidates
from cairn.services.ids import ClusterId, HostId, ZoneId
from cairn.testing.clock import START


class Everywhere(HostFilter):
    """Refuses whom `allows` does not, and narrows to `places`. Counts the hosts that it was asked about."""

    def __init__(self, allows: Callable[[Candidate], bool], places: Places = ANYWHERE) -> None:
        self.allows = allows
        self.places = places
        self.asked = 0

    def refuse(self, tx: Tx, need: HostNeed, candidates: Sequence[Candidate]) -> dict[HostId, str]:
        self.asked += len(candidates)
        return {one.host_uuid: "is not allowed" for one in candidates if not self.allows(one)}

    def narrow(self, tx: Tx, need: HostNeed) -> Places:
        return self.places


class Meter:
    """A connection that counts the rows that its statements read."""

    def __init__(self, tx: Tx) -> None:
        self.rows_read = 0
        self.statements = 0
        self._fetch = tx._connection.fetch
        tx._connection.fetch = self.fetch  # type: ignore[method-assign, assignment]
        self._tx = tx

    def fetch(self, sql: str, values: Sequence[object]) -> object:
        found = self._fetch(sql, values)  # type: ignore[arg-type]
        self.rows_read += len(found)
        self.statements += 1
        return found

    def end(self) -> None:
        self._tx._connection.fetch = self._fetch  # type: ignore[method-assign]


def many(number: int, clusters: int = 10, memory: Callable[[int], int] = lambda _: 1000) -> list[Host]:
    return [
        host(f"h{one:05}", memory(one), place=1, cluster_uuid=f"c{one % clusters:03}", cpus=8) for one in range(number)
    ]


async def cloud(hosts: list[Host], filters: Sequence[HostFilter] = ()) -> Book:
    book = await Book.open(filters=filters)

    def fill(tx: Tx) -> None:
        for uuid in {one.cluster_uuid for one in hosts} - {"cluster-1"}:
            write(
                tx,
                Cluster(
                    uuid=uuid,
                    name="c",
                    zone_uuid=ZoneId("zone-1"),
                    hypervisor_type="KVM",
                    create_date=START,
                    last_op_date=START,
                ),
            )
        tx.insert_many(hosts)

    await book.do(fill)
    return book


async def cost(hosts: int, filters: Sequence[HostFilter] = (), **fields: object) -> tuple[int, int]:
    """Statements, and rows that they read, for a VM that cannot be placed."""
    book = await cloud(many(hosts), filters)

    def fn(tx: Tx) -> tuple[int, int]:
        meter = Meter(tx)
        try:
            with pytest.raises(CairnError) as caught:
                book.allocator.claim(tx, need("vm", **fields))  # type: ignore[arg-type]
        finally:
            meter.end()
        assert caught.value.code == "host.none-fits"
        return meter.statements, meter.rows_read

    return await book.do(fn)


@pytest.mark.parametrize(
    ("filters", "fields"),
    [
        ([], {"memory": 2000}),
        ([], {"cpus": 9}),
        ([], {"cpus": 9, "zone_uuid": "zone-1"}),
        ([], {"zone_uuid": "zone-2"}),
        ([], {"cluster_uuid": "c001", "cpus": 9}),
        ([], {"host_uuid": "uuid-h00001", "cpus": 9}),
        ([Refuses({f"h{one:05}": "is red" for one in range(10_000)})], {}),
    ],
)
async def test_a_vm_that_cannot_be_placed_costs_no_more_with_more_hosts(
    filters: list[HostFilter], fields: dict[str, object]
) -> None:
    few, many = await cost(100, filters, **fields), await cost(10_000, filters, **fields)
    assert many[0] <= few[0] + 2
    assert many[1] < MOST + 3 * BEHIND


async def test_where_no_host_has_the_cpus_no_more_are_looked_at() -> None:
    assert (await cost(1000, cpus=9))[1] < 2 * BEHIND + 20


@pytest.mark.parametrize("place", [{}, {"zone_uuid": "zone-1"}, {"cluster_uuid": "c003"}, {"host_uuid": "uuid-h00003"}])
async def test_no_look_sorts_or_reads_a_whole_table(place: dict[str, str]) -> None:
    book = await cloud(many(200), [Everywhere(lambda _: False)])
    plans: list[str] = []

    def fn(tx: Tx) -> None:
        fetch = tx._connection.fetch

        def spy(sql: str, values: Sequence[object]) -> object:
            if " host" in sql and "name" in sql:
                plans.append("; ".join(str(step[3]) for step in fetch(f"EXPLAIN QUERY PLAN {sql}", values)))  # type: ignore[arg-type]
            return fetch(sql, values)  # type: ignore[arg-type]

        tx._connection.fetch = spy  # type: ignore[method-assign, assignment]
        try:
            for _ in Candidates().batches(tx, need("vm", **place), []):  # type: ignore[arg-type]
                pass
        finally:
            tx._connection.fetch = fetch  # type: ignore[method-assign]

    await book.store.optimize()
    await book.do(fn)
    assert plans
    for plan in plans:
        assert "SEARCH host USING INDEX" in plan
        assert "TEMP B-TREE" not in plan


async def test_equal_hosts_are_taken_one_after_the_other() -> None:
    book = await cloud(many(20))
    assert len({await book.claim(f"vm{number}") for number in range(20)}) == 20


async def test_a_vm_whose_network_is_in_one_of_many_clusters_is_placed_there() -> None:
    judge = Everywhere(
        lambda one: one.cluster_uuid == "c007", Places(clusters=frozenset({ClusterId("c007"), ClusterId("gone")}))
    )
    book = await cloud(many(3000, memory=lambda one: 1000 if one % 10 == 7 else 2000 + one), [judge])
    assert int((await book.claim()).removeprefix("h")) % 10 == 7
    assert judge.asked < MOST + 3 * BEHIND


async def test_a_vm_with_its_disk_on_one_of_many_hosts_is_placed_there() -> None:
    judge = Everywhere(lambda one: one.name == "h00042", Places(hosts=frozenset({HostId("uuid-h00042")})))
    book = await cloud(many(3000, memory=lambda one: 1000 + one), [judge])
    assert await book.claim() == "h00042"
    assert judge.asked < 3 * BEHIND
    judge.places = Places(hosts=frozenset({HostId("uuid-h00042")}), clusters=frozenset({ClusterId("c000")}))
    await book.refused(vm="other")


async def test_places_that_filters_leave_are_those_that_all_leave() -> None:
    first = Everywhere(lambda _: True, Places(clusters=frozenset({ClusterId("c001"), ClusterId("c002")})))
    second = Everywhere(
        lambda one: one.cluster_uuid == "c002", Places(clusters=frozenset({ClusterId("c002"), ClusterId("c003")}))
    )
    book = await cloud(many(500, memory=lambda one: 3000 - one % 10), [first, second])
    assert int((await book.claim()).removeprefix("h")) % 10 == 2


async def test_hosts_with_much_memory_and_no_processors_do_not_hide_the_others() -> None:
    hosts = [host(f"full{one:04}", 5000, 0) for one in range(2000)] + [host("open", 1000, 4)]
    book = await cloud(hosts)
    assert await book.claim(cpus=2) == "open"


async def test_one_closed_cluster_full_of_memory_does_not_hide_the_others() -> None:
    judge = Everywhere(lambda one: one.cluster_uuid != "c000")
    book = await cloud(many(3000, clusters=3, memory=lambda one: 9000 if one % 3 == 0 else 1000), [judge])
    assert int((await book.claim()).removeprefix("h")) % 3


async def test_no_host_is_tried_twice() -> None:
    judge = Everywhere(lambda _: False)
    book = await cloud(many(300), [judge])
    await book.refused()
    assert judge.asked == 300 + 10  # ten for the reasons that are told


async def test_room_is_looked_at_in_every_batch() -> None:
    book = await cloud([host("a", 1000, 1), host("b", 900, 8)])

    def names(tx: Tx) -> list[list[str]]:
        found = Candidates().batches(tx, need("vm", memory=800, cpus=2), [])
        return [[one.name for one in batch] for batch in found]

    assert await book.do(names) == [["b"]]
    assert (await book.free("b"))[0] * MIB == 900 * MIB
