"""Addresses, against a model too simple to be wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.services.network_rig import Rig, uuid

from cairn.kernel.api import StateEvent
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.store.sqlite import SqliteConnection
from cairn.kernel.store.store import Tx
from cairn.services.ids import L3NetworkId
from cairn.services.l2.manifest import MANIFEST as L2
from cairn.services.l3.addresses import free_from, used_in
from cairn.services.l3.manifest import MANIFEST as L3
from cairn.services.l3.messages import ChangeL3NetworkState, ClaimedAddress
from cairn.services.l3.model import IpRange, ReleasedIp, UsedIp
from cairn.services.l3.provided import L3Networks

T = TypeVar("T")
#: instructions of the database for a claim
MOST_WORK = 1000


class Work:
    """How much the database did, whatever the machine: thousands of its virtual machine's instructions."""

    def __init__(self) -> None:
        self.thousands = 0

    def more(self) -> int:
        self.thousands += 1
        return 0


@contextmanager
def counted_work(rig: Rig) -> Iterator[Work]:
    work = Work()
    connection = cast("SqliteConnection", rig.context.store._writer.connection())._connection
    connection.set_progress_handler(work.more, 1000)
    yield work
    connection.set_progress_handler(None, 0)


class Net:
    """A network with ranges and no services."""

    def __init__(self, rig: Rig, uuid: L3NetworkId) -> None:
        self.rig = rig
        self.uuid = uuid
        self.networks = rig.context.need(L3Networks)

    async def write(self, fn: Callable[[Tx], T]) -> T:
        return await self.rig.context.store.write(fn)

    async def claim(self, vm: int = 1, ip: str | None = None) -> ClaimedAddress:
        return await self.write(lambda tx: self.networks.claim(tx, self.uuid, used_for=uuid(vm, 5), required_ip=ip))

    async def release(self, claimed: ClaimedAddress) -> None:
        await self.write(lambda tx: self.networks.release(tx, claimed.used_ip_uuid))


async def network(rig: Rig, *ranges: tuple[str, str]) -> Net:
    await rig.start([L2, L3])
    l3 = await rig.l3(await rig.l2(), "lan")
    for number, (start, end) in enumerate(ranges):
        await rig.add_range(l3, start, end, "255.255.0.0", name=f"range-{number}", gateway="10.0.255.254")
    return Net(rig, l3)


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_addresses_come_in_order_over_all_ranges(rig: Rig) -> None:
    net = await network(rig, ("10.0.1.1", "10.0.1.2"), ("10.0.0.1", "10.0.0.1"))
    claims = [await net.claim(vm) for vm in range(3)]
    assert [claimed.ip for claimed in claims] == ["10.0.0.1", "10.0.1.1", "10.0.1.2"]
    assert (claims[0].netmask, claims[0].gateway) == ("255.255.0.0", "10.0.255.254")


async def test_a_released_address_is_used_again_only_when_all_others_were(rig: Rig) -> None:
    net = await network(rig, ("10.0.0.1", "10.0.0.3"))
    first, second = await net.claim(), await net.claim()
    await net.release(second)
    await net.release(first)
    assert [(await net.claim()).ip for _ in range(3)] == ["10.0.0.3", "10.0.0.2", "10.0.0.1"]


async def test_a_full_network_says_so_with_its_ranges_and_what_to_do(rig: Rig) -> None:
    net = await network(rig, ("10.0.0.1", "10.0.0.2"))
    await net.claim()
    await net.claim()

    with pytest.raises(CairnError) as caught:
        await net.claim()

    assert (caught.value.code, caught.value.kind) == ("l3.no-free-address", ErrorKind.EXHAUSTED)
    assert "L3 network lan has no free address: 2 of 2 are used" in str(caught.value)
    assert "range-0 (10.0.0.1 to 10.0.0.2)" in str(caught.value)
    assert "AddIpRange" in str(caught.value)


async def test_a_network_without_ranges_says_that_it_has_none(rig: Rig) -> None:
    net = await network(rig)
    with pytest.raises(CairnError, match=r"0 of 0 are used\. It has no address range yet\. Add one"):
        await net.claim()


async def test_an_address_asked_for_by_name_is_given_before_and_behind_the_cursor(rig: Rig) -> None:
    net = await network(rig, ("10.0.0.1", "10.0.0.5"))
    first = await net.claim()
    assert (await net.claim(ip="10.0.0.3")).ip == "10.0.0.3"
    await net.release(first)
    assert (await net.claim(ip="10.0.0.1")).ip == "10.0.0.1"
    assert [(await net.claim()).ip for _ in range(3)] == ["10.0.0.2", "10.0.0.4", "10.0.0.5"]


async def test_a_taken_address_names_its_holder_to_administrators(rig: Rig) -> None:
    net = await network(rig, ("10.0.0.1", "10.0.0.5"))
    await net.claim(vm=7)
    with pytest.raises(CairnError, match=r"10\.0\.0\.1 of the L3 network lan is taken") as caught:
        await net.claim(ip="10.0.0.1")
    assert caught.value.code == "l3.address-taken"
    assert caught.value.operator == f"It has the VM {uuid(7, 5)}."
    assert uuid(7, 5) not in str(caught.value.record().public())


async def test_an_address_of_no_range_is_refused_with_the_ranges(rig: Rig) -> None:
    net = await network(rig, ("10.0.0.1", "10.0.0.5"))
    with pytest.raises(CairnError, match=r"range-0 \(10\.0\.0\.1 to 10\.0\.0\.5\)") as caught:
        await net.claim(ip="10.0.0.6")
    assert caught.value.code == "l3.address-outside"


async def test_a_disabled_network_gives_no_addresses(rig: Rig) -> None:
    net = await network(rig, ("10.0.0.1", "10.0.0.5"))
    await rig.context.bus.call(ChangeL3NetworkState(uuid=net.uuid, state_event=StateEvent.DISABLE))
    with pytest.raises(CairnError, match="lan is disabled") as caught:
        await net.claim()
    assert caught.value.code == "l3.disabled"


async def test_a_claim_of_a_transaction_that_fails_costs_no_address(rig: Rig) -> None:
    net = await network(rig, ("10.0.0.1", "10.0.0.1"))

    def fn(tx: Tx) -> None:
        net.networks.claim(tx, net.uuid, used_for=uuid(1, 5))
        raise CairnError("some.thing", "went wrong later")

    with pytest.raises(CairnError, match="went wrong later"):
        await net.write(fn)
    assert (await net.claim()).ip == "10.0.0.1"


async def test_free_addresses_are_found_between_used_ones(rig: Rig) -> None:
    net = await network(rig, ("10.0.0.1", "10.0.0.9"))
    claims = [await net.claim() for _ in range(6)]
    await net.release(claims[2])

    def fn(tx: Tx) -> list[int]:
        (range_,) = tx.find(IpRange)
        return [number & 0xFF for number in free_from(tx, range_, 0, 3)]

    assert await net.write(fn) == [3, 7, 8]


class Model:
    """Which addresses are taken, and nothing else."""

    def __init__(self) -> None:
        self.free = {f"10.0.0.{last}" for last in range(1, 7)} | {f"10.0.1.{last}" for last in range(1, 4)}
        self.taken: dict[str, ClaimedAddress] = {}


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("claim"), st.just(0)),
        st.tuples(st.just("named"), st.integers(1, 6)),
        st.tuples(st.just("release"), st.integers(0, 8)),
    ),
    max_size=60,
)


@given(OPERATIONS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_every_free_address_can_be_had_and_no_other(operations: list[tuple[str, int]]) -> None:
    asyncio.run(_compare(operations))


async def _compare(operations: list[tuple[str, int]]) -> None:
    rig = Rig()
    net = await network(rig, ("10.0.0.1", "10.0.0.6"), ("10.0.1.1", "10.0.1.3"))
    model = Model()
    for kind, number in operations:
        await _step(net, model, kind, number)
        await net.write(lambda tx: _check(tx, model))
    while model.free:
        await _step(net, model, "claim", 0)
    with pytest.raises(CairnError):
        await net.claim()
    await rig.stop()


async def _step(net: Net, model: Model, kind: str, number: int) -> None:
    if kind == "release":
        if model.taken:
            ip = sorted(model.taken)[number % len(model.taken)]
            await net.release(model.taken.pop(ip))
            model.free.add(ip)
        return
    wanted = f"10.0.0.{number}" if kind == "named" else None
    possible = wanted in model.free if wanted else bool(model.free)
    if not possible:
        with pytest.raises(CairnError):
            await net.claim(ip=wanted)
        return
    claimed = await net.claim(ip=wanted)
    assert claimed.ip in model.free
    model.free.remove(claimed.ip)
    model.taken[claimed.ip] = claimed


def _check(tx: Tx, model: Model) -> None:
    assert {used.ip for used in tx.find(UsedIp)} == set(model.taken)
    for range_ in tx.find(IpRange):
        released = {row.ip_in_long for row in tx.find(ReleasedIp, ip_range_uuid=range_.uuid)}
        used = {row.ip_in_long for row in tx.find(UsedIp, ip_range_uuid=range_.uuid)}
        assert not released & used
        assert all(range_.start_long <= number < range_.next_long for number in released)
        assert released | used >= set(range(range_.start_long, range_.next_long))
        assert used_in(tx, range_) == len(used)


@pytest.mark.parametrize("state", ["empty", "worn"])
async def test_claims_cost_the_same_in_a_big_network_whether_fresh_or_worn(rig: Rig, state: str) -> None:
    net = await network(rig, ("10.0.0.1", "10.0.255.253"))
    if state == "worn":

        def wear(tx: Tx) -> None:
            (range_,) = tx.find(IpRange)
            tx.update(IpRange, range_.uuid, next_long=range_.end_long + 1)
            for number in range(range_.start_long, range_.end_long + 1):
                if number % 3:
                    tx.insert(_used(range_, number, tx))
                else:
                    tx.insert(ReleasedIp(ip_range_uuid=range_.uuid, ip_in_long=number))

        await net.write(wear)

    def claim_many(tx: Tx) -> int:
        return len({net.networks.claim(tx, net.uuid, used_for=uuid(vm, 5)).ip for vm in range(10_000)})

    with counted_work(rig) as work:
        assert await net.write(claim_many) == 10_000
    assert 0 < work.thousands / 10 < MOST_WORK, "a claim takes some 200, and a scan takes 100,000"


def _used(range_: IpRange, number: int, tx: Tx) -> UsedIp:
    return UsedIp(
        uuid=uuid(number, 8),
        l3_network_uuid=range_.l3_network_uuid,
        ip_range_uuid=range_.uuid,
        ip="x",
        ip_in_long=number,
        netmask="x",
        gateway="x",
        create_date=tx.now,
    )
