from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.kernel import sample
from tests.unit.kernel.sample import Zone, zone

from cairn.kernel.error import CairnError
from cairn.kernel.store import Store, Tx
from cairn.kernel.store.lane import MOST_WAITING, READERS, FairQueue
from cairn.testing.clock import VirtualClock


def taken(queue: FairQueue[str], number: int) -> list[tuple[str | None, str]]:
    return [found for _ in range(number) if (found := queue.get()) is not None]


def test_askers_take_turns_and_each_keeps_its_order() -> None:
    queue: FairQueue[str] = FairQueue(3)
    for work in ("a1", "a2", "a3", "b1", "c1"):
        queue.put(work[0], work)
    assert taken(queue, 2) == [("a", "a1"), ("b", "b1")]
    queue.done("a")
    assert taken(queue, 1) == [("c", "c1")]
    queue.done("b")
    assert taken(queue, 1) == [("a", "a2")]
    queue.done("a")
    queue.done("c")
    assert taken(queue, 1) == [("a", "a3")]


def test_accounts_and_administrators_leave_each_other_a_worker() -> None:
    queue: FairQueue[str] = FairQueue(3)
    for number in range(4):
        queue.put(f"account{number}", "x")
    assert [asker for asker, _ in taken(queue, 2)] == ["account0", "account1"]
    queue.put(None, "urgent")
    assert taken(queue, 1) == [(None, "urgent")]
    for asker in ("account0", "account1", None):
        queue.done(asker)
    for _ in range(3):
        queue.put(None, "y")
    assert [asker for asker, _ in taken(queue, 3)].count(None) < 3


def test_one_asker_has_one_turn_at_a_time_whatever_is_free() -> None:
    queue: FairQueue[str] = FairQueue(3)
    queue.put("a", "a1")
    queue.put("a", "a2")
    assert taken(queue, 1) == [("a", "a1")]
    found: list[tuple[str | None, str] | None] = []
    waiter = threading.Thread(target=lambda: found.append(queue.get()))
    waiter.start()
    queue.put("b", "b1")
    waiter.join(10)
    assert found == [("b", "b1")]


def test_backlog_of_one_asker_is_bounded_and_hurts_no_other() -> None:
    queue: FairQueue[int] = FairQueue(3, most_waiting=2)
    queue.put("a", 1)
    queue.put("a", 2)
    with pytest.raises(CairnError) as caught:
        queue.put("a", 3)
    assert caught.value.code == "query.too-many"
    queue.put("b", 1)


def test_a_closed_queue_ends_after_what_waits() -> None:
    queue: FairQueue[int] = FairQueue(2)
    queue.put("a", 1)
    queue.close()
    assert queue.get() == ("a", 1)
    queue.done("a")
    assert queue.get() is None


@pytest.fixture
async def busy() -> AsyncIterator[Store]:
    """A store with threads and one zone."""
    store = await Store.memory(sample.schema(), VirtualClock())
    await store.write(lambda tx: tx.insert(zone(1)))
    yield store
    await store.close()


async def test_reads_of_the_node_do_not_wait_for_queries(busy: Store) -> None:
    go = threading.Event()
    started = threading.Semaphore(0)

    def slow(tx: Tx) -> int:
        started.release()
        go.wait(60)
        return tx.count(Zone)

    accounts = [f"account{number}" for number in range(READERS + 3)]
    queries = [asyncio.create_task(busy.query(slow, asker=asker, seconds=60)) for asker in accounts]
    for _ in range(READERS - 1):
        assert await asyncio.to_thread(started.acquire, timeout=10)
    assert await busy.read(lambda tx: tx.count(Zone)) == 1
    assert await busy.query(lambda tx: tx.count(Zone), asker=None, seconds=60) == 1
    assert not any(query.done() for query in queries)
    go.set()
    assert await asyncio.gather(*queries) == [1] * len(accounts)


async def test_a_query_whose_time_is_over_is_broken_off_in_the_database(tmp_path: Path) -> None:
    class Hasty(VirtualClock):
        """A clock that goes on by a second whenever it is looked at."""

        seconds = 0.0

        def monotonic(self) -> float:
            self.seconds += 1
            return self.seconds

    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    store = await Store.open(tmp_path / "x.db", sample.schema(), Hasty(), create_tables=True)
    with pytest.raises(CairnError) as caught:
        await store.query(lambda tx: tx.fetch(endless, ()), asker="a", seconds=100)
    assert caught.value.code == "store.stopped"
    with pytest.raises(CairnError) as caught:
        await store.query(lambda tx: tx.fetch_within(endless, (), 10**12), asker="a", seconds=100)
    assert caught.value.code == "store.stopped"
    assert await store.query(lambda tx: tx.fetch_within(endless, (), 10**6), asker="a", seconds=10_000) is None
    assert await store.query(lambda tx: tx.count(Zone), asker="a", seconds=100) == 0
    with pytest.raises(CairnError) as caught:
        await store.query(lambda tx: tx.count(Zone), asker="a", seconds=0)
    assert caught.value.code == "store.stopped"
    await store.close()


async def test_a_query_that_fails_leaves_its_reader_at_work(busy: Store) -> None:
    def fail(tx: Tx) -> None:
        raise LookupError("no")

    for _ in range(READERS + 1):
        with pytest.raises(LookupError):
            await busy.query(fail, asker="a", seconds=10)
    assert await busy.query(lambda tx: tx.count(Zone), asker="a", seconds=10) == 1


async def test_one_account_cannot_make_an_endless_backlog(busy: Store) -> None:
    go = threading.Event()
    tasks = [
        asyncio.create_task(busy.query(lambda tx: go.wait(60), asker="a", seconds=60))
        for _ in range(MOST_WAITING + READERS + 1)
    ]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION, timeout=30)
    assert {getattr(task.exception(), "code", "") for task in done} == {"query.too-many"}
    go.set()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_closing_the_store_breaks_off_queries_that_run(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "x.db", sample.schema(), VirtualClock(), create_tables=True)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    started = threading.Event()

    def work(tx: Tx) -> None:
        started.set()
        tx.fetch(endless, ())

    query = asyncio.create_task(store.query(work, asker="a", seconds=3600))
    assert await asyncio.to_thread(started.wait, 10)
    await store.close()
    with pytest.raises(CairnError) as caught:
        await query
    assert caught.value.code == "store.stopped"
