from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from tests.unit.kernel import sample
from tests.unit.kernel.sample import Zone, zone

from cairn.kernel.bus.context import CallContext, current, entered
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.store import Schema, Store, Tx
from cairn.kernel.store.driver import Connection
from cairn.kernel.store.sqlite import SqliteConnection, SqliteDriver
from cairn.testing.clock import VirtualClock

ROOT = Path(__file__).parents[4]


class Counter:
    """Metrics that remember."""

    def __init__(self) -> None:
        self.commits: list[int] = []
        self.reads = 0

    def committed(self, transactions: int, seconds: float) -> None:
        self.commits.append(transactions)

    def read(self, seconds: float) -> None:
        self.reads += 1


async def test_an_exception_undoes_its_own_transaction_only_and_is_raised(store: Store) -> None:
    def fail(tx: Tx) -> None:
        tx.insert(zone(2))
        raise ValueError("no")

    await store.write(lambda tx: tx.insert(zone(1)))
    with pytest.raises(ValueError, match="no"):
        await store.write(fail)
    await store.write(lambda tx: tx.insert(zone(3)))
    assert await store.read(lambda tx: [one.uuid for one in tx.find(Zone, order_by="uuid")]) == ["z1", "z3"]


async def test_failing_functions_in_one_commit_do_not_disturb_the_others(store: Store) -> None:
    def insert(number: int) -> object:
        def work(tx: Tx) -> int:
            tx.insert(zone(number, name=f"n{number}"))
            if number % 3 == 0:
                raise KeyError(number)
            return number

        return store.write(work)

    results = await asyncio.gather(*(insert(number) for number in range(100)), return_exceptions=True)  # type: ignore[call-overload]
    for number, result in enumerate(results):
        assert isinstance(result, KeyError) if number % 3 == 0 else result == number
    assert await store.read(lambda tx: tx.count(Zone)) == 66


async def test_waiting_functions_share_a_commit() -> None:
    metrics = Counter()
    store = await Store.memory(sample.schema(), VirtualClock(), metrics)
    go = threading.Event()
    first = asyncio.create_task(store.write(lambda tx: go.wait(10)))
    rest = [asyncio.create_task(store.write(partial(Tx.insert, record=zone(n)))) for n in range(50)]
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(first, *rest)
    assert metrics.commits == [51]
    await store.close()


async def test_a_read_sees_what_was_acknowledged_and_does_not_wait_for_the_writer() -> None:
    store = await Store.memory(sample.schema(), VirtualClock())
    await store.write(lambda tx: tx.insert(zone(1)))
    go = threading.Event()

    def slow(tx: Tx) -> None:
        tx.insert(zone(2))
        go.wait(10)

    writing = asyncio.create_task(store.write(slow))
    await asyncio.sleep(0)
    assert await store.read(lambda tx: tx.count(Zone)) == 1
    go.set()
    await writing
    assert await store.read(lambda tx: tx.count(Zone)) == 2
    await store.close()


async def test_calls_after_the_commit_run_on_the_loop_before_the_answer_and_only_if_it_was_kept(store: Store) -> None:
    seen: list[object] = []

    def keep(tx: Tx) -> None:
        tx.after_commit(lambda: seen.append(threading.current_thread()))

    def fail(tx: Tx) -> None:
        tx.after_commit(lambda: seen.append("never"))
        raise ValueError

    await store.write(keep)
    assert seen == [threading.main_thread()]
    with pytest.raises(ValueError):
        await store.write(fail)
    assert seen == [threading.main_thread()]


async def test_a_failing_call_after_the_commit_is_reported_and_hurts_nobody(store: Store) -> None:
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    def work(tx: Tx) -> str:
        tx.after_commit(lambda: 1 / 0)
        tx.after_commit(lambda: reported.append({}))
        return "done"

    assert await store.write(work) == "done"
    assert isinstance(reported[0]["exception"], ZeroDivisionError)
    assert reported[1] == {}


async def test_a_duplicate_caught_inside_the_function_leaves_the_rest_of_it(store: Store) -> None:
    def work(tx: Tx) -> None:
        tx.insert(zone(1))
        with pytest.raises(CairnError):
            tx.insert(zone(1))
        tx.insert(zone(2))

    await store.write(work)
    assert await store.read(lambda tx: tx.count(Zone)) == 2


async def test_a_closed_store_says_so_and_closing_twice_is_fine(store: Store) -> None:
    await store.close()
    await store.close()
    with pytest.raises(CairnError) as caught:
        await store.read(lambda tx: None)
    assert (caught.value.code, caught.value.kind) == ("store.closed", ErrorKind.UNAVAILABLE)


async def test_close_finishes_what_was_asked_for(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "s.db", sample.schema(), VirtualClock(), create_tables=True)
    writes = [asyncio.create_task(store.write(partial(Tx.insert, record=zone(n)))) for n in range(500)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*writes)
    again = await Store.open(tmp_path / "s.db", sample.schema(), VirtualClock())
    assert await again.read(lambda tx: tx.count(Zone)) == 500
    await again.close()


async def test_a_url_does_for_a_path_and_another_kind_of_database_is_refused(tmp_path: Path) -> None:
    store = await Store.open(f"sqlite:///{tmp_path}/s.db", sample.schema(), VirtualClock(), create_tables=True)
    await store.close()
    assert (tmp_path / "s.db").exists()
    with pytest.raises(CairnError, match="'oracle' is not a database"):
        await Store.open("oracle://x", sample.schema(), VirtualClock())


async def test_a_file_that_is_no_database_is_broken(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_text("this is a letter, not a database " * 100)
    with pytest.raises(CairnError) as caught:
        await Store.open(tmp_path / "s.db", sample.schema(), VirtualClock())
    assert caught.value.code == "store.broken"


async def test_a_full_disk_fails_everyone_with_a_sentence_and_the_store_goes_on(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "s.db", sample.schema(), VirtualClock(), create_tables=True)
    await store.write(lambda tx: tx.fetch("PRAGMA max_page_count=60", ()))
    big = "x" * 2000
    calls = [store.write(partial(Tx.insert, record=zone(n, description=big))) for n in range(200)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    failed = [one for one in results if one is not None]
    assert failed
    assert {one.code for one in failed if isinstance(one, CairnError)} == {"store.full"}
    assert all(isinstance(one, CairnError) and one.kind is ErrorKind.EXHAUSTED for one in failed)
    await store.write(lambda tx: tx.fetch("PRAGMA max_page_count=6000", ()))
    await store.write(lambda tx: tx.insert(zone(999)))
    assert await store.read(lambda tx: tx.count(Zone)) == 200 - len(failed) + 1
    await store.close()


async def test_functions_whose_transaction_another_ended_are_run_again() -> None:
    store = await Store.memory(sample.schema(), VirtualClock())
    go, runs = threading.Event(), [0]

    def first(tx: Tx) -> str:
        runs[0] += 1
        tx.insert(zone(1))
        go.wait(10)
        return "first"

    def ender(tx: Tx) -> None:
        tx.fetch("ROLLBACK", ())  # as SQLite does by itself after some errors
        raise ValueError("ended")

    calls = [asyncio.create_task(store.write(fn)) for fn in (first, ender, lambda tx: tx.insert(zone(2)))]
    await asyncio.sleep(0)
    go.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert results[0] == "first"
    assert isinstance(results[1], ValueError)
    assert runs[0] > 1
    assert await store.read(lambda tx: tx.count(Zone)) == 2
    await store.close()


@pytest.mark.parametrize("inline", [True, False])
async def test_going_on_after_the_transaction_ended_is_an_error_not_a_success(inline: bool) -> None:
    store = await Store.memory(sample.schema(), VirtualClock(), inline=inline)
    with pytest.raises(CairnError) as caught:
        await store.write(lambda tx: tx.fetch("ROLLBACK", ()))
    assert caught.value.code == "store.lost"
    await store.write(lambda tx: tx.insert(zone(1)))
    await store.close()


async def test_another_process_holding_the_file_is_named_as_the_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cairn.kernel.store.sqlite._BUSY_MILLISECONDS", 1)
    store = await Store.open(tmp_path / "s.db", sample.schema(), VirtualClock(), create_tables=True)
    other = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(CairnError) as caught:
        await store.write(lambda tx: tx.insert(zone(1)))
    assert (caught.value.code, caught.value.kind) == ("store.busy", ErrorKind.UNAVAILABLE)
    other.execute("ROLLBACK")
    await store.write(lambda tx: tx.insert(zone(1)))
    other.close()
    await store.close()


async def test_a_caller_that_goes_away_while_waiting_disturbs_nobody() -> None:
    store = await Store.memory(sample.schema(), VirtualClock())
    go = threading.Event()
    gone = asyncio.create_task(store.write(lambda tx: go.wait(10)))
    stays = asyncio.create_task(store.write(lambda tx: tx.insert(zone(1))))
    await asyncio.sleep(0)
    gone.cancel()
    go.set()
    await stays
    assert gone.cancelled()
    await store.close()


async def test_metrics_hear_of_commits_and_reads() -> None:
    metrics = Counter()
    store = await Store.memory(sample.schema(), VirtualClock(), metrics, inline=True)
    await store.write(lambda tx: tx.insert(zone(1)))
    await store.read(lambda tx: tx.count(Zone))
    assert (metrics.commits, metrics.reads) == ([1], 1)
    await store.close()


async def test_optimize_may_be_called_any_time(store: Store) -> None:
    await store.write(lambda tx: tx.insert_many([zone(n) for n in range(100)]))
    await store.optimize()


CHILD = """
import asyncio, sys
from tests.unit.kernel import sample
from cairn.kernel.clock import SystemClock
from cairn.kernel.store import Store

async def main():
    store = await Store.open(sys.argv[1], sample.schema(), SystemClock(), create_tables=True)
    async def one(worker):
        for number in range(100000):
            key = f"{worker}-{number}"
            await store.write(lambda tx: tx.insert(sample.zone(uuid=key, name=key)))
            sys.stdout.write(key + "\\n")
            sys.stdout.flush()
    await asyncio.gather(*(one(worker) for worker in range(20)))

asyncio.run(main())
"""


def acknowledged_before_a_kill(path: Path) -> list[str]:
    """The keys that a child, killed in the middle of its writes, was told to be durable."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    command = [sys.executable, "-c", CHILD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as child:
        assert child.stdout is not None
        acknowledged = [child.stdout.readline().strip() for _ in range(400)]
        child.send_signal(signal.SIGKILL)
        return acknowledged + child.stdout.read().split("\n")[:-1]


async def test_everything_acknowledged_survives_kill_minus_nine(tmp_path: Path) -> None:
    acknowledged = acknowledged_before_a_kill(tmp_path / "s.db")
    store = await Store.open(tmp_path / "s.db", sample.schema(), VirtualClock())
    there = await store.read(lambda tx: {one.uuid for one in tx.find(Zone)})
    assert len(acknowledged) >= 400
    assert set(acknowledged) - there == set()
    await store.close()


class _Faulty(SqliteConnection):
    """Its commits and rollbacks fail, or a commit waits, as long as it is told so."""

    fail = False
    wait: threading.Event | None = None
    waits = threading.Event()

    def __init__(self, connection: Connection) -> None:
        super().__init__(cast("SqliteConnection", connection)._connection, read_only=False)

    def commit(self) -> None:
        if _Faulty.wait is not None:
            _Faulty.waits.set()
            _Faulty.wait.wait(10)
        self._may_fail()
        super().commit()

    def rollback(self) -> None:
        self._may_fail()
        super().rollback()

    def _may_fail(self) -> None:
        if _Faulty.fail:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> type[_Faulty]:
    connect = SqliteDriver.connect

    def instead(self: SqliteDriver, *, read_only: bool) -> Connection:
        made = connect(self, read_only=read_only)
        return made if read_only else _Faulty(made)

    monkeypatch.setattr(SqliteDriver, "connect", instead)
    monkeypatch.setattr(_Faulty, "fail", False)
    return _Faulty


async def test_writer_whose_rollback_fails_answers_everyone_and_heals(faulty: type[_Faulty], tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "x.db", sample.schema(), VirtualClock(), create_tables=True)
    assert store.trouble() is None
    faulty.fail = True
    work = (store.write(partial(Tx.insert, record=zone(n))) for n in range(20))
    answers = await asyncio.wait_for(asyncio.gather(*work, return_exceptions=True), 20)
    assert {getattr(answer, "code", answer) for answer in answers} == {"store.broken"}
    assert store.trouble() == "the database cannot be written; the log says why"
    assert await store.read(lambda tx: tx.count(Zone)) == 0

    faulty.fail = False
    await asyncio.wait_for(store.write(partial(Tx.insert, record=zone(1))), 20)
    assert store.trouble() is None
    assert await store.read(lambda tx: tx.count(Zone)) == 1
    await store.close()


async def test_commit_that_takes_too_long_is_trouble_while_it_lasts(faulty: type[_Faulty], tmp_path: Path) -> None:
    clock = VirtualClock()
    store = await Store.open(tmp_path / "x.db", sample.schema(), clock, create_tables=True)
    faulty.wait = go = threading.Event()
    try:
        work = asyncio.create_task(store.write(partial(Tx.insert, record=zone(1))))
        await asyncio.to_thread(faulty.waits.wait, 10)
        assert store.trouble() is None
        await clock.advance(31)
        assert store.trouble() == "a commit has taken 31 s so far"
        go.set()
        await work
        assert store.trouble() is None
    finally:
        faulty.wait = None
    await store.close()


def test_a_schema_is_independent_of_others_of_the_same_records() -> None:
    assert Schema(sample.RECORDS).metadata is not Schema(sample.RECORDS).metadata


async def test_functions_run_in_the_context_of_their_caller_whatever_the_thread(tmp_path: Path) -> None:
    schema = Schema([Zone])
    store = await Store.open(tmp_path / "a.db", schema, VirtualClock(), create_tables=True)
    try:
        with entered(CallContext(actor="alice")):
            assert await store.write(lambda tx: current().actor) == "alice"
            assert await store.read(lambda tx: current().actor) == "alice"
            assert await store.look(lambda tx: current().actor) == "alice"
    finally:
        await store.close()


async def test_looks_are_answered_in_the_order_of_the_calls(store: Store) -> None:
    """Whoever comes first keeps its place: recovered jobs look at the database before they take their places in queues."""
    await store.write(lambda tx: tx.insert(zone(1)))
    answered: list[int] = []

    async def look(number: int) -> None:
        await store.look(lambda tx: tx.count(Zone) if number % 3 else tx.find(Zone))
        answered.append(number)

    await asyncio.gather(*(look(number) for number in range(50)))
    assert answered == list(range(50))
