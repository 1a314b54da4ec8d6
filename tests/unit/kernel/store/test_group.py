"""Group commit, on a database that can be made to fail."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.kernel import sample
from tests.unit.kernel.sample import Entry

from cairn.kernel.bus.context import CallContext, current, entered
from cairn.kernel.error import CairnError
from cairn.kernel.store.group import NoMetrics, TransactionRunner, WorkItem
from cairn.kernel.store.line import Line
from cairn.kernel.store.mariadb import Raw, client
from cairn.kernel.store.sqlite import SqliteConnection, SqliteDriver
from cairn.kernel.store.store import Store, Tx
from cairn.testing.clock import VirtualClock
from cairn.testing.mariadb import CopyableConnection, PooledDriver, shared_server


class Connection(SqliteConnection):
    """Counts commits, and fails one where it is told to."""

    def __init__(self, path: Path) -> None:
        raw = sqlite3.connect(path, isolation_level=None, timeout=0)
        raw.execute("CREATE TABLE IF NOT EXISTS kept (name TEXT PRIMARY KEY)")
        super().__init__(raw, read_only=False)
        self.commits = 0
        self.marks = 0
        self.fail: dict[str, list[bool]] = {}  #: name of a method -> whether its next calls fail

    def _may_fail(self, name: str) -> None:
        calls = self.fail.get(name)
        if calls and calls.pop(0):
            raise sqlite3.OperationalError(f"{name} failed")

    def begin(self) -> None:
        self._may_fail("begin")
        super().begin()

    def commit(self) -> None:
        self.commits += 1
        self._may_fail("commit")
        super().commit()

    def rollback(self) -> None:
        self._may_fail("rollback")
        super().rollback()

    def savepoint(self) -> None:
        self.marks += 1
        self._may_fail("savepoint")
        super().savepoint()

    def release(self) -> None:
        self._may_fail("release")
        super().release()

    def rollback_to_savepoint(self) -> None:
        self._may_fail("rollback to")
        super().rollback_to_savepoint()

    def close(self) -> None:
        super().close()
        self._may_fail("close")


class FailingDriver(SqliteDriver):
    """Gives such connections, each with the faults that are left."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path
        self.fail: dict[str, list[bool]] = {}
        self.made: list[Connection] = []

    def connect(self, *, read_only: bool) -> Connection:
        calls = self.fail.get("connect")
        if calls and calls.pop(0):
            raise sqlite3.OperationalError("connect failed")
        connection = Connection(self.path)
        connection.fail = self.fail
        self.made.append(connection)
        return connection


class Metrics(NoMetrics):
    def __init__(self) -> None:
        self.commits: list[int] = []

    def committed(self, transactions: int, seconds: float) -> None:
        self.commits.append(transactions)


class World:
    def __init__(self, path: Path) -> None:
        self.driver = FailingDriver(path)
        self.line = Line(self.driver, read_only=False)
        self.metrics = Metrics()
        self.runner = TransactionRunner(self.driver, sample.schema(), VirtualClock(), self.metrics)

    @property
    def connection(self) -> Connection:
        return self.driver.made[-1]

    def write(self, *functions: Callable[[Tx], object]) -> list[WorkItem[object]]:
        """Functions that wait together."""
        calls = [WorkItem(function, None) for function in functions]
        waiting = iter(calls[1:])
        assert self.runner.write(self.line, calls[0], lambda: next(waiting, None)) == calls
        return calls

    def kept(self) -> list[object]:
        with closing(sqlite3.connect(self.driver.path)) as looker:
            return [row[0] for row in looker.execute("SELECT name FROM kept ORDER BY rowid")]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "kept.db")
    yield world
    world.line.close()


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


def distrust(world: World) -> None:
    """Let one fail, so that those that come next have marks."""
    world.write(lambda tx: None, keep_and_fail("no"))


def test_those_that_succeed_cost_no_marks_and_those_after_one_that_failed_do(world: World) -> None:
    world.write(*(keep(str(number)) for number in range(5)))
    assert world.connection.marks == 0
    world.write(keep("5"), keep_and_fail("no"), keep("6"))
    assert world.connection.marks == 2  # of the one that failed, tried again, and of the next
    world.write(keep("7"), keep("8"), keep_and_fail("no"))
    assert (world.connection.marks, world.metrics.commits[1:]) == (4, [2, 2])
    world.write(*(keep(f"many {number}") for number in range(256)))
    before = world.connection.marks
    world.write(keep("9"), keep("10"))
    assert world.connection.marks == before
    assert world.kept()[-2:] == ["9", "10"]


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
    world.driver.fail["commit"] = [True]
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
    calls = world.runner.write(world.line, next(waiting), lambda: next(waiting))
    assert len(calls) == 256


def test_functions_run_in_the_context_of_whoever_called(world: World) -> None:
    with entered(CallContext(actor="cat")):
        call: WorkItem[object] = WorkItem(lambda tx: current().actor, None)
    world.runner.write(world.line, call, lambda: None)
    assert call.result == "cat"


def test_a_read_leaves_no_transaction_and_tells_its_error(world: World) -> None:
    fine: WorkItem[object] = WorkItem(lambda tx: tx.fetch("SELECT 1", []), None)
    broken: WorkItem[object] = WorkItem(lambda tx: tx.fetch("SELECT nonsense", []), None)
    for call in (fine, broken):
        world.runner.read(world.line, call)
        assert not world.connection.in_transaction
    assert fine.result == [(1,)]
    assert getattr(broken.error, "code", None) == "store.refused"


PLACES = ("begin", "commit", "rollback", "savepoint", "release", "rollback to", "close", "connect")


def code(call: WorkItem[object]) -> object:
    return getattr(call.error, "code", call.error)


@pytest.mark.parametrize(
    ("fail", "codes", "reopened"),
    [
        (["begin"], ["store.refused", None, None], False),
        (["commit"], ["store.refused"] * 3, False),
        (["commit", "rollback"], ["store.refused"] * 3, True),
        (["begin", "rollback"], ["store.refused"], True),
        (["savepoint"], [None, "store.refused", None], False),
        (["savepoint", "rollback"], ["store.broken", "store.refused"], True),
        (["release"], [None, "store.refused", None], False),
        (["release", "rollback", "close"], ["store.broken", "store.refused"], True),
    ],
)
def test_connection_that_fails_costs_the_work_that_met_it_and_nothing_after(
    world: World, fail: list[str], codes: list[str | None], reopened: bool
) -> None:
    distrust(world)
    world.driver.fail.update({name: [True] for name in fail})
    calls = [WorkItem(keep(name), None) for name in "abc"]
    waiting = iter(calls[1:])
    taken = world.runner.write(world.line, calls[0], lambda: next(waiting, None))
    assert [code(call) for call in taken] == codes
    assert (world.line.trouble is not None) == reopened
    world.driver.fail.clear()

    (after,) = world.write(keep("after"))
    assert (after.error, world.line.trouble) == (None, None)
    assert len(world.driver.made) == (2 if reopened else 1)
    assert world.kept() == [*(call.result for call in taken if call.error is None), "after"]


def test_database_that_cannot_be_opened_again_refuses_each_until_it_can(world: World) -> None:
    world.driver.fail.update({"commit": [True], "rollback": [True], "connect": [True, True]})
    world.write(keep("a"))
    for _ in range(2):
        (refused,) = world.write(keep("b"))
        assert code(refused) == "store.broken"
        assert "Nothing was changed" in str(refused.error)
    world.write(keep("c"))
    assert (world.kept(), world.line.trouble) == (["c"], None)


def test_connection_that_says_it_is_broken_is_not_used_again(world: World) -> None:
    def reads_nothing(tx: Tx) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error

    for work in (
        lambda item: world.runner.read(world.line, item),
        lambda item: world.runner.write(world.line, item, lambda: None),
    ):
        before = len(world.driver.made)
        broken: WorkItem[object] = WorkItem(reads_nothing, None)
        work(broken)
        assert (code(broken), world.line.trouble) == ("store.broken", broken.error)
        world.write(lambda tx: None)
        assert len(world.driver.made) == before + 1


@pytest.mark.parametrize(
    ("fail", "error"), [("rollback", None), ("begin", "store.refused"), ("connect", "store.refused")]
)
def test_read_on_a_connection_that_fails_is_answered_and_the_next_has_a_new_one(
    world: World, fail: str, error: str | None
) -> None:
    if fail == "connect":
        world.line.drop(sqlite3.OperationalError("some trouble"))
    world.driver.fail[fail] = [True]
    first: WorkItem[object] = WorkItem(lambda tx: tx.fetch("SELECT 1", []), None)
    second: WorkItem[object] = WorkItem(first.function, None)
    world.runner.read(world.line, first)
    assert (code(first), first.result) == (error, None if error else [(1,)])
    world.runner.read(world.line, second)
    assert (second.error, second.result) == (None, [(1,)])
    assert (len(world.driver.made), world.line.trouble) == (2, None)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    faults=st.dictionaries(st.sampled_from(PLACES), st.lists(st.booleans(), max_size=4)),
    batches=st.lists(st.lists(st.sampled_from(["keep", "raise", "end", "read"]), min_size=1, max_size=4), max_size=6),
)
def test_whatever_fails_everyone_is_answered_and_told_the_truth(
    tmp_path_factory: pytest.TempPathFactory, faults: dict[str, list[bool]], batches: list[list[str]]
) -> None:
    world = World(tmp_path_factory.mktemp("store") / "kept.db")
    world.driver.fail.update(faults)
    promised: list[object] = []
    number = 0
    for batch in batches:
        functions: list[Callable[[Tx], object]] = []
        for kind in batch:
            number += 1
            name = f"{kind}-{number}"
            functions.append(
                {
                    "keep": keep(name),
                    "raise": keep_and_fail(name),
                    "end": end_transaction(world),
                    "read": lambda tx: tx.fetch("SELECT 1", []),
                }[kind]
            )
        calls: list[WorkItem[object]] = [WorkItem(function, None) for function in functions]
        waiting = iter(calls[1:])
        taken = world.runner.write(world.line, calls[0], lambda waiting=waiting: next(waiting, None))  # type: ignore[misc]
        assert taken == calls[: len(taken)]
        promised += [call.result for call in taken if call.error is None and isinstance(call.result, str)]
        for call in calls[len(taken) :]:
            assert world.runner.write(world.line, call, lambda: None) == [call]
            promised += [call.result] if call.error is None and isinstance(call.result, str) else []
    world.driver.fail.clear()
    assert world.kept() == promised
    world.write(keep("at last"))
    assert world.kept() == [*promised, "at last"]
    world.line.close()


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


def overtaken_for(runs: int, code: str, seen: list[str], name: str = "run") -> Callable[[Tx], object]:
    """Was overtaken so many times; what it did then must not stay."""

    def fn(tx: Tx) -> str:
        seen.append(code)
        keep(f"{name} {len(seen)}")(tx)
        if len(seen) <= runs:
            raise CairnError(code, "somebody was faster")
        return "done"

    return fn


@pytest.mark.parametrize("before", [0, 1, 2])
@pytest.mark.parametrize(
    ("code", "runs"), [("store.duplicate", 2), ("store.reference", 2), ("store.overtaken", 5), ("store.null", 0)]
)
def test_one_that_may_have_been_overtaken_is_run_again_a_few_times(
    world: World, code: str, runs: int, before: int
) -> None:
    distrust(world)  # those before have marks, too
    others = [keep(str(number)) for number in range(before)]
    seen: list[str] = []
    *_, call = world.write(*others, overtaken_for(runs, code, seen))
    assert (call.error, call.result) == (None, "done")
    assert world.kept() == [*(str(number) for number in range(before)), f"run {runs + 1}"]

    seen.clear()
    *_, call = world.write(overtaken_for(100, code, seen, "vain"))
    assert getattr(call.error, "code", None) == code
    assert len(seen) == runs + 1


def test_one_that_was_overtaken_in_a_batch_without_marks_costs_the_others_nothing(world: World) -> None:
    seen: list[str] = []
    calls = world.write(keep("a"), overtaken_for(2, "store.overtaken", seen), keep("b"))
    assert [call.error for call in calls] == [None] * 3
    assert world.kept() == ["a", "run 3", "b"]


# -- a server that fails ------------------------------------------------------------------------------------------------

FAULTS = ("lost before", "lost after", "deadlock", "none")


class FaultyRaw:
    """A connection to a server which, at each statement that is sent, may fail as its driver says."""

    def __init__(self, raw: Raw, driver: FaultyDriver) -> None:
        self._raw = raw
        self._driver = driver
        self.store_result = raw.store_result
        self.affected_rows = raw.affected_rows
        self.string_literal = raw.string_literal
        self.get_server_info = raw.get_server_info
        self.set_character_set = raw.set_character_set
        self.close = raw.close

    def query(self, query: bytes) -> None:
        faults = self._driver.faults
        fault = faults.pop(0) if faults else "none"
        if fault == "lost before":
            raise client().Error(2006, "Server has gone away")
        if fault == "deadlock" and query.startswith((b"INSERT", b"UPDATE", b"SAVEPOINT")):
            self._raw.query(b"ROLLBACK")
            raise client().Error(1213, "Deadlock found when trying to get lock; try restarting transaction")
        self._raw.query(query)
        if fault == "lost after":
            raise client().Error(2013, "Lost connection to server during query")


class FaultyDriver(PooledDriver):
    """A database on a server that fails as it is told to."""

    def __init__(self) -> None:
        kept = shared_server().driver(sample.schema())
        super().__init__(kept.address, kept.pool, [])
        self.faults: list[str] = []

    def _made(self, raw: Raw, read_only: bool) -> CopyableConnection:
        return super()._made(FaultyRaw(raw, self), read_only)


class ServerWorld:
    """A writer on it. No pause takes any time."""

    def __init__(self) -> None:
        self.driver = FaultyDriver()
        self.line = Line(self.driver, read_only=False)
        self.pauses: list[float] = []
        self.runner = TransactionRunner(
            self.driver, sample.schema(), VirtualClock(), NoMetrics(), pause=self.pauses.append
        )

    def write(self, *functions: Callable[[Tx], object]) -> list[WorkItem[object]]:
        """Functions that wait together."""
        calls = [WorkItem(function, None) for function in functions]
        waiting = iter(calls[1:])
        return self.runner.write(self.line, calls[0], lambda: next(waiting, None))

    def texts(self) -> list[str]:
        self.driver.faults.clear()
        item: WorkItem[object] = WorkItem(lambda tx: [one.text for one in tx.find(Entry)], None)
        self.runner.read(self.line, item)
        assert isinstance(item.result, list)
        return sorted(item.result)

    def close(self) -> None:
        self.driver.faults.clear()
        self.line.close()
        self.driver.close()


@pytest.fixture
def server() -> Iterator[ServerWorld]:
    world = ServerWorld()
    yield world
    world.close()


def enter(text: str) -> Callable[[Tx], object]:
    return lambda tx: tx.insert(Entry(text=text))


def refused(tx: Tx) -> None:
    tx.insert(Entry(text="refused"))
    raise CairnError("some.refusal", "no")


@given(faults=st.lists(st.sampled_from(FAULTS), max_size=30), sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_whatever_a_server_does_each_function_is_applied_once(faults: list[str], sizes: list[int]) -> None:
    server = ServerWorld()
    server.driver.faults = list(faults)
    for batch, size in enumerate(sizes):
        items = server.write(*(enter(f"{batch}-{number}") for number in range(size)), refused)
        assert [item.error for item in items[:-1]] == [None] * size
        assert isinstance(items[-1].error, CairnError) and items[-1].error.code == "some.refusal"
    assert server.texts() == sorted(f"{batch}-{number}" for batch, size in enumerate(sizes) for number in range(size))
    server.close()


def test_a_server_that_stays_away_is_told_to_all_and_the_next_are_tried_once(server: ServerWorld) -> None:
    server.driver.faults = ["lost before"] * 1000
    items = server.write(enter("a"), enter("b"))
    assert {item.error.code for item in items if isinstance(item.error, CairnError)} == {"store.unreachable"}
    assert 25 < sum(server.pauses) < 60
    server.pauses.clear()
    (item,) = server.write(enter("c"))
    assert isinstance(item.error, CairnError) and item.error.code == "store.unreachable"
    assert server.pauses == []
    server.driver.faults.clear()
    (item,) = server.write(enter("d"))
    assert item.error is None
    assert server.texts() == ["d"]


def test_a_commit_that_stays_in_doubt_is_told_as_such(server: ServerWorld) -> None:
    server.write(enter("a"))
    server.driver.faults = ["none", "none", "lost after", *["lost before"] * 1000]  # insert, mark, commit
    (item,) = server.write(enter("b"))
    assert isinstance(item.error, CairnError) and item.error.code == "store.unknown-outcome"
    assert server.texts() == ["a", "b"]


def test_a_read_that_is_interrupted_is_done_again(server: ServerWorld) -> None:
    server.write(enter("a"))
    server.driver.faults = ["lost before", *["none"] * 20]
    item: WorkItem[object] = WorkItem(lambda tx: tx.count(Entry), None)
    server.runner.read(server.line, item)
    assert (item.result, item.error) == (1, None)


def test_a_function_that_swallows_the_interruption_is_run_again_all_the_same(server: ServerWorld) -> None:
    def stubborn(tx: Tx) -> None:
        for text in ("first", "second"):
            with suppress(CairnError):
                tx.insert(Entry(text=text))

    server.write(enter("a"))
    server.driver.faults = ["deadlock"]
    (item,) = server.write(stubborn)
    assert item.error is None
    assert server.texts() == ["a", "first", "second"]


def test_nothing_is_tried_again_once_the_store_is_being_closed(server: ServerWorld) -> None:
    runner = TransactionRunner(server.driver, sample.schema(), VirtualClock(), NoMetrics())
    runner.closing.set()
    server.driver.faults = ["lost before"] * 1000
    item: WorkItem[object] = WorkItem(enter("a"), None)
    runner.write(server.line, item, lambda: None)
    assert isinstance(item.error, CairnError) and item.error.code == "store.unreachable"
    assert len(server.driver.faults) > 990


def test_tries_that_take_long_are_few(server: ServerWorld) -> None:
    clock = VirtualClock()

    def slow(seconds: float) -> None:
        server.pauses.append(seconds)
        clock._elapsed += 25

    runner = TransactionRunner(server.driver, sample.schema(), clock, NoMetrics(), pause=slow)
    server.driver.faults = ["lost before"] * 1000
    item: WorkItem[object] = WorkItem(enter("a"), None)
    runner.write(server.line, item, lambda: None)
    assert isinstance(item.error, CairnError) and item.error.code == "store.unreachable"
    assert len(server.pauses) == 3
