"""Group commit, on a database that can be made to fail."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator

import pytest
from tests.unit.kernel import sample

from cairn.kernel.bus.context import CallContext, current, entered
from cairn.kernel.error import CairnError
from cairn.kernel.store.group import NoMetrics, TransactionRunner, WorkItem
from cairn.kernel.store.sqlite import SqliteConnection, SqliteDriver
from cairn.kernel.store.store import Store, Tx
from cairn.testing.clock import VirtualClock


class Connection(SqliteConnection):
    """Counts commits, and fails one where it is told to."""

    def __init__(self) -> None:
        raw = sqlite3.connect(":memory:", isolation_level=None)
        raw.execute("CREATE TABLE kept (name TEXT PRIMARY KEY)")
        super().__init__(raw, read_only=False)
        self.commits = 0
        self.fail_commit = False

    def commit(self) -> None:
        self.commits += 1
        if self.fail_commit:
            raise sqlite3.OperationalError("disk I/O error")
        super().commit()


class Metrics(NoMetrics):
    def __init__(self) -> None:
        self.commits: list[int] = []

    def committed(self, transactions: int, seconds: float) -> None:
        self.commits.append(transactions)


class World:
    def __init__(self) -> None:
        self.connection = Connection()
        self.metrics = Metrics()
        self.runner = TransactionRunner(SqliteDriver(None), sample.schema(), VirtualClock(), self.metrics)

    def write(self, *functions: Callable[[Tx], object]) -> list[WorkItem[object]]:
        """Functions that wait together."""
        calls = [WorkItem(function, None) for function in functions]
        waiting = iter(calls[1:])
        assert self.runner.write(self.connection, calls[0], lambda: next(waiting, None)) == calls
        assert not self.connection.in_transaction
        return calls

    def kept(self) -> list[object]:
        return [row[0] for row in self.connection.fetch("SELECT name FROM kept ORDER BY rowid", ())]


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.connection.close()


def keep(name: str) -> Callable[[Tx], object]:
    def fn(tx: Tx) -> str:
        tx.fetch("INSERT INTO kept VALUES (?)", [name])
        return name

    return fn


def keep_and_fail(name: str) -> Callable[[Tx], object]:
    def fn(tx: Tx) -> None:
        keep(name)(tx)
        raise ValueError(name)

    return fn


def test_all_that_wait_share_one_commit(world: World) -> None:
    calls = world.write(*(keep(str(number)) for number in range(5)))
    assert [call.result for call in calls] == world.kept() == ["0", "1", "2", "3", "4"]
    assert (world.connection.commits, world.metrics.commits) == (1, [5])


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_one_that_fails_undoes_what_it_did_and_nothing_else(world: World, failing: int) -> None:
    functions = [keep_and_fail(str(at)) if at == failing else keep(str(at)) for at in range(3)]
    calls = world.write(*functions)
    assert [isinstance(call.error, ValueError) for call in calls] == [at == failing for at in range(3)]
    assert world.kept() == [str(at) for at in range(3) if at != failing]
    assert world.metrics.commits == [2]


def test_when_all_fail_nothing_is_committed(world: World) -> None:
    world.write(keep_and_fail("a"), keep_and_fail("b"))
    assert (world.connection.commits, world.kept()) == (0, [])


def test_a_commit_that_fails_fails_all_and_nobody_is_called_after_it(world: World) -> None:
    world.connection.fail_commit = True
    told: list[str] = []

    def tells(tx: Tx) -> None:
        keep("a")(tx)
        tx.after_commit(lambda: told.append("a"))

    calls = world.write(tells, keep("b"))
    assert [getattr(call.error, "code", None) for call in calls] == ["store.refused", "store.refused"]
    assert (world.kept(), calls[0].after, told) == ([], [], [])


def end_transaction(world: World) -> Callable[[Tx], object]:
    def fn(tx: Tx) -> None:
        world.connection.rollback()
        raise sqlite3.OperationalError("the database gave up")

    return fn


def test_when_one_ends_the_transaction_the_others_are_done_again(world: World) -> None:
    calls = world.write(keep("a"), keep("b"), end_transaction(world), keep("c"))
    assert [call.error is None for call in calls] == [True, True, False, True]
    assert world.kept() == ["a", "b", "c"]


def test_one_that_goes_on_after_its_transaction_was_ended_is_told(world: World) -> None:
    (call,) = world.write(lambda tx: world.connection.rollback())
    assert isinstance(call.error, CairnError)
    assert call.error.code == "store.lost"


def test_a_batch_has_an_end(world: World) -> None:
    waiting = (WorkItem(keep(str(number)), None) for number in range(10_000))
    calls = world.runner.write(world.connection, next(waiting), lambda: next(waiting))
    assert len(calls) == 256


def test_functions_run_in_the_context_of_whoever_called(world: World) -> None:
    with entered(CallContext(actor="cat")):
        call: WorkItem[object] = WorkItem(lambda tx: current().actor, None)
    world.runner.write(world.connection, call, lambda: None)
    assert call.result == "cat"


def test_a_read_leaves_no_transaction_and_tells_its_error(world: World) -> None:
    fine: WorkItem[object] = WorkItem(lambda tx: tx.fetch("SELECT 1", []), None)
    broken: WorkItem[object] = WorkItem(lambda tx: tx.fetch("SELECT nonsense", []), None)
    for call in (fine, broken):
        world.runner.read(world.connection, call)
        assert not world.connection.in_transaction
    assert fine.result == [(1,)]
    assert getattr(broken.error, "code", None) == "store.refused"


async def test_what_waits_for_the_commit_is_called_before_the_answer_and_one_may_fail() -> None:
    loop = asyncio.get_running_loop()
    heard: list[str] = []
    loop.set_exception_handler(lambda _, context: heard.append(str(context["exception"])))
    future: asyncio.Future[str] = loop.create_future()
    call: WorkItem[str] = WorkItem(lambda tx: "done", future)
    call.result = "done"
    call.after = [lambda: 1 // 0, lambda: heard.append(f"answered: {future.done()}")]
    call.answer()
    assert heard == ["integer division or modulo by zero", "answered: False"]
    assert await future == "done"


async def test_a_function_that_raises_stop_iteration_cannot_end_the_caller_by_it() -> None:
    store = await Store.memory(sample.schema(), VirtualClock())

    def stops(tx: Tx) -> None:
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        await store.read(stops)
    await store.close()
