"""Choosing the host that takes a VM, and booking its capacity."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.resource import Resource, write
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store, Tx
from cairn.kernel.tag import SystemTag
from cairn.services.cluster.model import Cluster
from cairn.services.host.extensions import Candidate, HostFilter, HostNeed
from cairn.services.host.model import Host, HostClaim, HostState
from cairn.services.host.placement.allocator import Allocator
from cairn.services.ids import ClusterId, HostId, VmId, ZoneId
from cairn.services.zone.model import Zone
from cairn.testing.clock import START, VirtualClock

T = TypeVar("T")
MIB = 1 << 20


class Refuses(HostFilter):
    """Refuses hosts by name, and remembers the hosts that it was asked about."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = reasons
        self.asked: list[list[str]] = []

    def refuse(self, tx: Tx, need: HostNeed, candidates: Sequence[Candidate]) -> dict[HostId, str]:
        self.asked.append([candidate.name for candidate in candidates])
        return {one.host_uuid: self.reasons[one.name] for one in candidates if one.name in self.reasons}


class Book:
    """Hosts in a database, and an allocator."""

    def __init__(self, store: Store, filters: Sequence[HostFilter] = ()) -> None:
        self.store = store
        self.allocator = Allocator(lambda: filters)

    @classmethod
    async def open(cls, *hosts: Host, filters: Sequence[HostFilter] = ()) -> Book:
        store = await Store.memory(
            Schema([Resource, SystemTag, Zone, Cluster, Host, HostClaim]), VirtualClock(), inline=True
        )

        def fill(tx: Tx) -> None:
            for number in (1, 2):
                zone = Zone(uuid=ZoneId(f"zone-{number}"), name="z", create_date=START, last_op_date=START)
                write(tx, zone)
                cluster = Cluster(
                    uuid=ClusterId(f"cluster-{number}"),
                    name="c",
                    zone_uuid=zone.uuid,
                    hypervisor_type="KVM",
                    create_date=START,
                    last_op_date=START,
                )
                write(tx, cluster)
            for host in hosts:
                write(tx, host)

        await store.write(fill)
        return cls(store, filters)

    async def do(self, fn: Callable[[Tx], T]) -> T:
        return await self.store.write(fn)

    async def claim(self, vm: str = "vm", **fields: Any) -> str:
        """The name of the host that takes a VM."""
        asked = need(vm, **fields)
        return (await self.do(lambda tx: self.allocator.claim(tx, asked))).name

    async def refused(self, **fields: Any) -> CairnError:
        with pytest.raises(CairnError) as caught:
            await self.claim(**fields)
        assert caught.value.code == "host.none-fits"
        assert caught.value.kind is ErrorKind.EXHAUSTED
        return caught.value

    async def free(self, name: str) -> tuple[int, int]:
        """Memory in MiB and CPUs that are free."""
        (host,) = await self.do(lambda tx: tx.find(Host, name=name))
        return host.available_memory_capacity // MIB, host.available_cpu_capacity

    async def claims(self) -> dict[VmId, HostId]:
        """Read the host that each VM is booked on."""
        return {claim.vm_uuid: claim.host_uuid for claim in await self.do(lambda tx: tx.find(HostClaim))}


def host(name: str, memory: int = 1024, cpus: int = 8, *, place: int = 1, **fields: Any) -> Host:
    """A host that is up, with this many MiB and CPUs free."""
    values: dict[str, Any] = {
        "uuid": f"uuid-{name}",
        "name": name,
        "create_date": START,
        "last_op_date": START,
        "zone_uuid": f"zone-{place}",
        "cluster_uuid": f"cluster-{place}",
        "management_ip": name,
        "hypervisor_type": "KVM",
        "architecture": "x86_64",
        "status": MachineStatus.CONNECTED,
        "available_memory_capacity": memory * MIB,
        "available_cpu_capacity": cpus,
    }
    return Host(**{**values, **fields})


def need(vm: str, *, memory: int = 512, cpus: int = 1, **fields: Any) -> HostNeed:
    values: dict[str, Any] = {
        "vm_uuid": vm,
        "cpu_num": cpus,
        "memory_size": memory * MIB,
        "disk_bytes": 0,
        "image_uuid": "image",
        "l3_network_uuids": [],
    }
    return HostNeed(**{**values, **fields})


async def test_the_host_with_the_most_free_memory_takes_the_vm_and_has_less_then() -> None:
    book = await Book.open(host("small", 1024), host("big", 2048))
    assert await book.claim("a") == "big"
    assert await book.free("big") == (1536, 7)
    assert await book.claims() == {"a": "uuid-big"}
    assert await book.claim("b", memory=1024) == "big"
    assert await book.claim("c", memory=1024) == "small"


async def test_a_vm_that_fits_exactly_is_taken_and_one_byte_more_is_not() -> None:
    book = await Book.open(host("a", 512, 2))
    await book.refused(cpus=3)
    await book.refused(memory_size=512 * MIB + 1)
    assert await book.claim(cpus=2) == "a"
    assert await book.free("a") == (0, 0)


@pytest.mark.parametrize(
    "fields",
    [
        {"state": HostState.DISABLED},
        {"state": HostState.MAINTENANCE},
        {"status": MachineStatus.CONNECTING},
        {"status": MachineStatus.DISCONNECTED},
    ],
)
async def test_a_host_that_is_not_up_takes_nothing(fields: dict[str, Any]) -> None:
    book = await Book.open(host("closed", 4096, **fields), host("open"))
    assert await book.claim() == "open"


@pytest.mark.parametrize("fields", [{"zone_uuid": "zone-2"}, {"cluster_uuid": "cluster-2"}, {"host_uuid": "uuid-far"}])
async def test_the_place_that_was_asked_for_is_kept_to(fields: dict[str, Any]) -> None:
    book = await Book.open(host("near", 4096), host("far", place=2))
    assert await book.claim(**fields) == "far"


async def test_filters_are_asked_one_after_the_other_about_those_that_are_left() -> None:
    first, second = Refuses({"a": "is red"}), Refuses({"b": "is blue"})
    book = await Book.open(host("a", 3000), host("b", 2000), host("c", 1000), filters=[first, second])
    assert await book.claim() == "c"
    assert ["a"] in first.asked
    assert all("a" not in asked for asked in second.asked)


async def test_hosts_beyond_the_first_pages_are_found() -> None:
    hosts = [host(f"h{number:03}", 5000 - number) for number in range(130)]
    refuses = Refuses({one.name: "is red" for one in hosts[:-1]})
    book = await Book.open(*hosts, filters=[refuses])
    assert await book.claim() == "h129"


async def test_an_administrator_who_finds_no_host_is_told_how_to_get_one() -> None:
    refused = await (await Book.open()).refused()
    assert "there are no hosts yet" in refused.message
    assert "AddKVMHost" in str(refused.operator)


async def test_administrators_are_told_each_hosts_reason_and_others_no_host_at_all() -> None:
    book = await Book.open(
        host("disabled", state=HostState.DISABLED),
        host("lost", status=MachineStatus.DISCONNECTED, status_reason="no answer"),
        host("full", 100),
        host("busy", cpus=1),
        host("red"),
        host("elsewhere", place=2),
        filters=[Refuses({"red": "is red"})],
    )
    refused = await book.refused(cpus=2, zone_uuid="zone-1", disk_bytes=MIB - 1)
    assert refused.operator == (
        "1 hosts that are up and have room were looked at, and refused. Of all hosts: busy has 1 virtual CPUs free, "
        "and the VM needs 2; disabled is Disabled; elsewhere is not in the zone that was asked for; full has 100 MiB of "
        "memory free, and the VM needs 512 MiB; lost is Disconnected (no answer); red is red."
    )
    assert "a VM of 2 CPUs (x86_64) and 512 MiB, with these networks and a disk of 1 MiB" in refused.message
    public = msgspec.json.encode(refused.record().public()).decode()
    assert [word for word in ("busy", "100", "no answer", "red is", "elsewhere is") if word in public] == []
    assert await book.claims() == {}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"host_uuid": "uuid-b"}, "is not the host that was asked for"),
        ({"cluster_uuid": "cluster-2"}, "is not in the cluster that was asked for"),
    ],
)
async def test_a_host_in_another_place_is_told_so(fields: dict[str, Any], reason: str) -> None:
    book = await Book.open(host("a"))
    assert f"Of all hosts: a {reason}." in str((await book.refused(**fields)).operator)


async def test_ten_reasons_are_told_at_most() -> None:
    book = await Book.open(*(host(f"h{number:02}", 1) for number in range(13)))
    assert str((await book.refused()).operator).count("MiB of memory free") == 10


async def test_what_is_released_can_be_claimed_again_and_releasing_twice_gives_nothing_more() -> None:
    book = await Book.open(host("a", 512, 1))
    await book.claim("vm")
    assert await book.do(lambda tx: book.allocator.release(tx, VmId("vm"))) == "uuid-a"
    assert await book.do(lambda tx: book.allocator.release(tx, VmId("vm"))) is None
    assert await book.free("a") == (512, 1)
    assert await book.claim("other") == "a"


async def hold(book: Book, vm: str, uuid: str) -> None:
    await book.do(lambda tx: book.allocator.hold(tx, VmId(vm), HostId(uuid), cpu_num=4, memory_bytes=600 * MIB))


async def test_a_vm_that_was_found_on_a_host_is_booked_there_whether_it_fits_or_not() -> None:
    book = await Book.open(host("a", 512, 1))
    await hold(book, "vm", "uuid-a")
    await hold(book, "vm", "uuid-a")
    assert await book.free("a") == (-88, -3)
    await book.refused(vm="other", memory=1)


async def test_a_vm_that_moved_by_itself_is_booked_on_one_host_only() -> None:
    book = await Book.open(host("a"), host("b"))
    await hold(book, "vm", "uuid-a")
    await hold(book, "vm", "uuid-b")
    assert (await book.free("a"), await book.free("b")) == ((1024, 8), (424, 4))
    assert await book.claims() == {"vm": "uuid-b"}


async def test_a_vm_on_a_host_that_is_gone_holds_nothing() -> None:
    book = await Book.open(host("a"))
    await hold(book, "vm", "uuid-a")
    await hold(book, "vm", "gone")
    assert await book.free("a") == (1024, 8)
    assert await book.claims() == {}


async def test_a_claim_that_is_rolled_back_takes_nothing() -> None:
    book = await Book.open(host("a"))

    def fails(tx: Tx) -> None:
        book.allocator.claim(tx, need("vm"))
        raise CairnError("test.no", "no")

    with pytest.raises(CairnError, match="no"):
        await book.do(fails)
    assert (await book.free("a"), await book.claims()) == ((1024, 8), {})


sizes = st.tuples(st.integers(1, 900), st.integers(1, 6))
actions = st.lists(
    st.tuples(st.sampled_from(["claim", "release", "hold"]), st.integers(0, 5), st.integers(0, 2), sizes), max_size=25
)


@settings(max_examples=40)
@given(hosts=st.lists(sizes, min_size=1, max_size=3), actions=actions)
def test_two_claims_never_take_the_same(
    hosts: list[tuple[int, int]], actions: list[tuple[str, int, int, tuple[int, int]]]
) -> None:
    """After any claims, releases and moves, the free capacity is the host's capacity less the capacity that is booked on it."""

    async def play() -> None:
        rows = [host(f"h{number}", memory, cpus) for number, (memory, cpus) in enumerate(hosts)]
        book = await Book.open(*rows)
        held: dict[str, tuple[str, int, int]] = {}

        def left(name: str) -> tuple[int, int]:
            memory, cpus = hosts[int(name.removeprefix("h"))]
            mine = [taken for taken in held.values() if taken[0] == name]
            return memory - sum(one[1] for one in mine), cpus - sum(one[2] for one in mine)

        for kind, number, at, (memory, cpus) in actions:
            vm, name = f"vm-{number}", f"h{at % len(hosts)}"
            if kind == "release":
                await book.do(lambda tx, vm=vm: book.allocator.release(tx, vm))  # type: ignore[misc]
                held.pop(vm, None)
            elif kind == "hold":
                await book.do(
                    lambda tx, vm=vm, name=name, memory=memory, cpus=cpus: book.allocator.hold(  # type: ignore[misc]
                        tx, vm, HostId(f"uuid-{name}"), cpu_num=cpus, memory_bytes=memory * MIB
                    )
                )
                if held.get(vm, ("",))[0] != name:
                    held[vm] = (name, memory, cpus)
            elif vm not in held:
                fits = {row.name for row in rows if left(row.name)[0] >= memory and left(row.name)[1] >= cpus}
                try:
                    taken = await book.claim(vm, memory=memory, cpus=cpus)
                except CairnError:
                    assert not fits
                else:
                    most = max(left(name)[0] for name in fits)
                    assert taken in fits
                    assert left(taken)[0] == most
                    held[vm] = (taken, memory, cpus)
            for row in rows:
                assert await book.free(row.name) == left(row.name)
        assert await book.claims() == {vm: f"uuid-{taken[0]}" for vm, taken in held.items()}

    asyncio.run(play())
