"""Several writers of one store, on a server that the tests start; and the one of SQLite."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest
from tests.unit.kernel import sample
from tests.unit.kernel.sample import Zone, zone

from cairn.kernel.error import CairnError
from cairn.kernel.store import Schema, Store, Tx
from cairn.kernel.store.group import NoMetrics, TransactionRunner, WorkItem
from cairn.kernel.store.invalidation import Invalidation
from cairn.kernel.store.numbering import CommitSequence
from cairn.kernel.store.remembered import Remembered
from cairn.kernel.store.writer import Writers
from cairn.testing.clock import VirtualClock
from cairn.testing.mariadb import shared_server
from cairn.testing.stores import private_store

SECONDS = 20


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    made = await private_store(Schema([Zone, Invalidation, CommitSequence]), VirtualClock(), mariadb=True)
    yield made
    await made.close()


async def both(*work: asyncio.Future[object] | asyncio.Task[object]) -> list[object]:
    return list(await asyncio.wait_for(asyncio.gather(*work), SECONDS))


def begin(store: Store, fn: Callable[[Tx], object], own: str | None = None) -> asyncio.Task[object]:
    return asyncio.create_task(store.write(fn, own=own))


async def test_what_belongs_to_one_thing_runs_at_the_same_time_as_the_rest(store: Store) -> None:
    meeting = threading.Barrier(2)

    def meet(tx: Tx) -> int:
        return meeting.wait(SECONDS)

    met = await both(begin(store, meet), begin(store, meet, "thing"))
    assert sorted(map(str, met)) == ["0", "1"]


async def test_where_enough_waits_for_one_writer_the_next_one_helps(store: Store) -> None:
    running, go = threading.Event(), threading.Event()

    def hold(tx: Tx) -> None:
        running.set()
        assert go.wait(SECONDS)

    held = begin(store, hold, "held")
    assert await asyncio.to_thread(running.wait, SECONDS)
    waiting = [begin(store, lambda tx: tx.count(Zone), f"thing-{number}") for number in range(32)]
    assert await asyncio.wait_for(store.write(lambda tx: tx.count(Zone), own="helped"), SECONDS) == 0
    assert not any(one.done() for one in waiting)
    go.set()
    assert await both(held, *waiting) == [None, *[0] * 32]


class Pauses(threading.Event):
    """Notes for how long it is waited for, and is not waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout)
        return True


async def test_functions_are_gathered_while_the_first_writer_is_busy_and_not_else() -> None:
    driver = shared_server().driver(Schema([Zone]))
    runner = TransactionRunner(driver, Schema([Zone]), VirtualClock(), NoMetrics())
    pauses = runner.closing = Pauses()
    answered: dict[str | None, threading.Event] = {name: threading.Event() for name in (None, "busy", "idle")}
    running, go = threading.Event(), threading.Event()

    def hold(tx: Tx) -> None:
        running.set()
        assert go.wait(SECONDS)

    def answer(items: list[WorkItem[object]]) -> None:
        for item in items:
            answered[item.own].set()

    writers = Writers(runner, answer)
    writers.start()
    writers.put(WorkItem(hold, None))
    assert await asyncio.to_thread(running.wait, SECONDS)
    writers.put(WorkItem(lambda _: None, None, own="busy"))
    assert await asyncio.to_thread(answered["busy"].wait, SECONDS)
    assert pauses.seconds == [0.005]
    go.set()
    assert await asyncio.to_thread(answered[None].wait, SECONDS)
    writers.put(WorkItem(lambda _: None, None, own="idle"))
    assert await asyncio.to_thread(answered["idle"].wait, SECONDS)
    assert pauses.seconds == [0.005]
    writers.finish()
    await asyncio.to_thread(writers.close)
    driver.close()


@pytest.mark.parametrize("own", [None, "thing"])
async def test_functions_of_one_thing_and_those_of_none_keep_their_order(store: Store, own: str | None) -> None:
    seen: list[int] = []
    await both(*(begin(store, lambda tx, n=number: seen.append(n), own) for number in range(50)))  # type: ignore[misc]
    assert seen == list(range(50))


async def test_where_only_one_can_write_all_functions_keep_their_order() -> None:
    store = await private_store(sample.schema(), VirtualClock(), mariadb=False)
    seen: list[int] = []
    await both(*(begin(store, lambda tx, n=number: seen.append(n), f"t{number}") for number in range(50)))  # type: ignore[misc]
    assert seen == list(range(50))
    await store.close()


async def test_no_two_transactions_have_the_same_now(store: Store) -> None:
    nows = await both(*(begin(store, lambda tx: tx.now, f"thing-{number}") for number in range(100)))
    assert len(set(nows)) == 100


async def test_what_one_writer_remembers_another_does_not_see_before_the_commit(store: Store) -> None:
    names = Remembered[None, list[str]](lambda tx, _: sorted(one.name for one in tx.find(Zone)), (Zone,))
    made, looked = threading.Event(), threading.Event()

    def insert(tx: Tx) -> list[str]:
        tx.insert(zone(1, name="a"))
        seen = names.get(tx, None)
        made.set()
        assert looked.wait(SECONDS)
        return seen

    def look(tx: Tx) -> list[str]:
        assert made.wait(SECONDS)
        seen = names.get(tx, None)
        looked.set()
        return seen

    assert await both(begin(store, insert), begin(store, look, "thing")) == [["a"], []]
    assert await store.write(lambda tx: names.get(tx, None), own="thing") == ["a"]
    assert await store.write(lambda tx: names.get(tx, None)) == ["a"]


async def test_all_that_was_asked_for_is_done_before_the_end() -> None:
    store = await private_store(Schema([Zone]), VirtualClock(), mariadb=True)
    work = [begin(store, partial(Tx.insert, record=zone(number)), f"thing-{number}") for number in range(40)]
    await asyncio.sleep(0)
    counted = begin(store, lambda tx: tx.count(Zone))
    closing = asyncio.create_task(store.close())
    await both(*work, counted, closing)
    assert {type(one.result()) for one in work} == {type(None)}
    with pytest.raises(CairnError, match="going down"):
        await store.write(lambda tx: None, own="thing-1")


async def test_a_writer_whose_trouble_is_over_is_told_so() -> None:
    driver = shared_server().driver(Schema([Zone]))
    runner = TransactionRunner(driver, Schema([Zone]), VirtualClock(), NoMetrics(), pause=lambda _: True)
    answered = threading.Event()

    def answer(items: list[WorkItem[object]]) -> None:
        answered.set()

    writers = Writers(runner, answer)
    writers.start()
    other = writers.put(WorkItem(lambda _: None, None, own="thing"))
    assert await asyncio.to_thread(answered.wait, SECONDS)
    answered.clear()
    other.line.drop(OSError("the line was cut"))
    assert writers.trouble() == "the database cannot be written; the log says why"
    assert await asyncio.to_thread(answered.wait, SECONDS)
    assert writers.trouble() is None
    writers.finish()
    await asyncio.to_thread(writers.close)
    driver.close()


async def test_each_function_has_its_place() -> None:
    driver = shared_server().driver(Schema([Zone]))
    writers = Writers(TransactionRunner(driver, Schema([Zone]), VirtualClock(), NoMetrics()), lambda _: None)

    def item(own: str | None) -> WorkItem[object]:
        return WorkItem(lambda _: None, None, own=own)

    assert writers.put(item(None)) is writers.first
    mine = item("thing")
    second = writers.put(mine)
    assert second is not writers.first
    assert {writers.put(item(f"other-{number}")) for number in range(31)} == {second}
    third = writers.put(item("late"))
    assert third not in (writers.first, second)
    assert writers.put(item("thing")) is second  # its former one is not answered yet
    writers.answered(mine)
    assert writers.put(item("thing")) is second  # nor is that
    for _ in range(2):
        writers.answered(mine)
    assert writers.put(item("thing")) is third
    writers.answered(item("nobody's"))
    writers.close()

    single = Writers(writers.first.runner, lambda _: None, several=False)
    assert single.put(item("thing")) is single.first
    single.close()
    driver.close()
