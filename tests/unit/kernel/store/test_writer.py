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


def of_different_writers(store: Store) -> tuple[str, str]:
    """Two things whose functions different writers run."""
    writers = store._writers
    names = [f"thing-{number}" for number in range(64)]
    other = next(name for name in names if writers.of(name) is not writers.of(names[0]))
    return names[0], other


async def both(*work: asyncio.Future[object] | asyncio.Task[object]) -> list[object]:
    return list(await asyncio.wait_for(asyncio.gather(*work), SECONDS))


def begin(store: Store, fn: Callable[[Tx], object], own: str | None = None) -> asyncio.Task[object]:
    return asyncio.create_task(store.write(fn, own=own))


async def test_functions_of_different_things_run_at_the_same_time(store: Store) -> None:
    meeting = threading.Barrier(3)

    def meet(tx: Tx) -> int:
        return meeting.wait(SECONDS)

    first, second = of_different_writers(store)
    met = await both(begin(store, meet), begin(store, meet, first), begin(store, meet, second))
    assert sorted(map(str, met)) == ["0", "1", "2"]


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
    first, second = of_different_writers(store)
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

    assert await both(begin(store, insert, first), begin(store, look, second)) == [["a"], []]
    assert await store.write(lambda tx: names.get(tx, None), own=second) == ["a"]
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
    other = writers.of("thing")
    other.line.drop(OSError("the line was cut"))
    assert writers.trouble() == "the database cannot be written; the log says why"
    assert await asyncio.to_thread(answered.wait, SECONDS)
    assert writers.trouble() is None
    writers.finish()
    await asyncio.to_thread(writers.close)
    driver.close()


async def test_the_first_writer_runs_what_belongs_to_no_one_thing() -> None:
    driver = shared_server().driver(Schema([Zone]))
    several = Writers(TransactionRunner(driver, Schema([Zone]), VirtualClock(), NoMetrics()), lambda _: None)
    assert several.of(None) is several.first
    used = {several.of(f"thing-{number}") for number in range(200)}
    assert several.first not in used
    assert len(used) == driver.writers - 1
    several.close()
    single = Writers(several.first.runner, lambda _: None, several=False)
    assert single.of("thing") is single.first
    single.close()
    driver.close()
