from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import NodeId
from cairn.kernel.likeness import Likeness
from cairn.kernel.membership import (
    HEARTBEAT_SECONDS,
    MISSED_HEARTBEATS,
    RECORDS,
    FolderLock,
    ManagementNode,
    Membership,
    NodeState,
    RingEpoch,
    change_state,
    fence,
    hold_beginnings,
    lock_database,
    take_out,
)
from cairn.kernel.ring import Ring
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store, Tx
from cairn.testing.clock import VirtualClock
from cairn.testing.overtaking import anomalies


class FlakyStore:
    """The store as one node sees it: it can be cut off from it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.reachable = True
        self.bug: BaseException | None = None

    def __getattr__(self, name: str) -> object:
        if self.bug is not None:
            raise self.bug
        if not self.reachable:
            raise CairnError("store.broken", "The database cannot be reached.", kind=ErrorKind.UNAVAILABLE)
        return getattr(self.store, name)


class Node:
    """One node: its ring, its membership, and whether it was told that it is fenced."""

    def __init__(
        self,
        name: str,
        store: Store,
        clock: VirtualClock,
        *,
        dead: bool = False,
        port: int = 0,
        alone: bool = False,
        plugins: str = "",
    ) -> None:
        self.id = NodeId(name * 32)
        self.ring = Ring()
        self.store = FlakyStore(store)
        self.fenced: list[str] = []
        self.membership = Membership(
            self.store,  # type: ignore[arg-type]
            self.ring,
            clock,
            self.id,
            host_name="127.0.0.1",
            port=port or ord(name),
            likeness=Likeness(plugins=dict.fromkeys(plugins, "1")),
            on_fenced=lambda error: self.fenced.append(error.code),
            predecessor_dead=dead,
            alone=alone,
        )


class Cloud:
    """Nodes on one store and one clock."""

    def __init__(self, store: Store, clock: VirtualClock) -> None:
        self.store = store
        self.clock = clock
        self.nodes: list[Node] = []

    async def start(
        self, name: str, *, dead: bool = False, port: int = 0, alone: bool = False, plugins: str = ""
    ) -> Node:
        node = Node(name, self.store, self.clock, dead=dead, port=port, alone=alone, plugins=plugins)
        self.nodes.append(node)
        await self.clock.run(node.membership.start())
        return node

    async def rows(self) -> list[str]:
        return sorted(row.uuid[0] for row in await self.store.read(lambda tx: tx.find(ManagementNode)))


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def cloud(clock: VirtualClock) -> AsyncIterator[Cloud]:
    store = await Store.memory(Schema(RECORDS), clock, inline=True)
    cloud = Cloud(store, clock)
    yield cloud
    for node in cloud.nodes:
        node.membership.drop()
    await clock.settle()
    await store.close()


def members(node: Node) -> str:
    return "".join(sorted(member[0] for member in node.ring.members))


async def test_nodes_that_join_are_seen_by_all_with_one_epoch_each(cloud: Cloud, clock: VirtualClock) -> None:
    a = await cloud.start("a")
    b = await cloud.start("b")
    c = await cloud.start("c")
    assert (members(a), a.ring.epoch) == ("a", 1)
    assert (members(c), c.ring.epoch) == ("abc", 3)
    await clock.advance(2)
    assert [(members(node), node.ring.epoch) for node in (a, b, c)] == [("abc", 3)] * 3


async def test_first_node_is_ready_without_waiting(cloud: Cloud, clock: VirtualClock) -> None:
    await cloud.start("a")
    assert clock.monotonic() == 0.0


async def test_node_that_leaves_is_out_of_the_ring_at_the_next_heartbeat(cloud: Cloud, clock: VirtualClock) -> None:
    a, b = await cloud.start("a"), await cloud.start("b")
    await clock.advance(2)
    await b.membership.stop()
    await b.membership.stop()
    await clock.advance(2)
    assert (members(a), a.ring.epoch) == ("a", 3)
    assert b.fenced == []


async def test_node_that_dies_is_declared_gone_after_four_silent_intervals(cloud: Cloud, clock: VirtualClock) -> None:
    a, b, c = await cloud.start("a"), await cloud.start("b"), await cloud.start("c")
    await clock.advance(3)
    b.membership.drop()
    await clock.advance(2.5)
    assert members(a) == "abc"
    await clock.advance(5)
    assert [(members(node), node.ring.epoch) for node in (a, c)] == [("ac", 4)] * 2
    assert await cloud.rows() == ["a", "c"]


async def test_nodes_whose_heart_beats_are_never_declared_gone(cloud: Cloud, clock: VirtualClock) -> None:
    nodes = [await cloud.start(name) for name in "abc"]
    await clock.advance(600)
    assert [(members(node), node.ring.epoch, node.fenced) for node in nodes] == [("abc", 3, [])] * 3


async def test_node_cut_off_from_the_database_is_replaced_and_stops_itself(cloud: Cloud, clock: VirtualClock) -> None:
    a, b, _ = await cloud.start("a"), await cloud.start("b"), await cloud.start("c")
    await clock.advance(2)
    b.store.reachable = False
    await clock.advance(10)
    assert members(a) == "ac"
    assert b.fenced == ["node.fenced"]


async def test_node_that_was_only_slow_is_fenced_when_it_comes_back(cloud: Cloud, clock: VirtualClock) -> None:
    a, b = await cloud.start("a"), await cloud.start("b")
    await clock.advance(2)
    b.membership.drop()  # it hangs
    await clock.advance(10)
    assert members(a) == "a"
    with pytest.raises(CairnError) as caught:
        await cloud.store.write(b.membership.fence)
    assert caught.value.code == "node.fenced"
    assert not await b.membership.beat()
    assert members(b) == "ab"


async def test_node_whose_row_was_taken_away_hears_of_it_at_its_next_heartbeat(
    cloud: Cloud, clock: VirtualClock
) -> None:
    a = await cloud.start("a")
    await cloud.store.write(lambda tx: tx.delete(ManagementNode, a.id))
    await clock.advance(20)
    assert a.fenced == ["node.fenced"]


async def test_lone_node_whose_database_is_away_goes_on(cloud: Cloud, clock: VirtualClock) -> None:
    a = await cloud.start("a")
    a.store.reachable = False
    await clock.advance(60)
    a.store.reachable = True
    await clock.advance(2)
    assert a.fenced == []
    assert await cloud.store.write(a.membership.fence) == 1


@pytest.mark.parametrize("bug", [KeyError("surprise"), OSError("log is full"), asyncio.CancelledError()])
async def test_heart_beats_on_whatever_went_wrong(cloud: Cloud, clock: VirtualClock, bug: BaseException) -> None:
    a = await cloud.start("a")
    assert a.membership.trouble() is None
    a.store.bug = bug
    await clock.advance(20)
    assert a.membership.trouble() == "its heartbeat has not been written for 20 s"
    a.store.bug = None
    await clock.advance(2)
    assert (a.membership.trouble(), a.fenced) == (None, [])


async def test_node_that_has_left_says_so(cloud: Cloud) -> None:
    a = await cloud.start("a")
    await a.membership.stop()
    assert a.membership.trouble() == "it is not in the ring of nodes"


async def test_fence_lets_members_write_and_gives_the_epoch(cloud: Cloud, clock: VirtualClock) -> None:
    a = await cloud.start("a")
    await cloud.start("b")
    assert await cloud.store.write(a.membership.fence) == 2
    assert await cloud.store.read(lambda tx: fence(tx, a.id, 1)) == 2


async def test_fence_refuses_who_has_not_joined_and_who_has_left(cloud: Cloud) -> None:
    stranger = Node("z", cloud.store, cloud.clock)
    a = await cloud.start("a")
    await a.membership.stop()
    for node in (stranger, a):
        with pytest.raises(CairnError, match="is no longer a member"):
            await cloud.store.write(node.membership.fence)


async def test_restart_after_a_crash_takes_over_its_dead_predecessor_at_once(cloud: Cloud, clock: VirtualClock) -> None:
    old = await cloud.start("a")
    await clock.advance(1)
    old.membership.drop()
    new = await cloud.start("a", dead=True)
    assert clock.monotonic() == 1.0
    assert (members(new), new.ring.epoch) == ("a", 2)
    assert await cloud.store.write(new.membership.fence) == 2
    with pytest.raises(CairnError):
        await cloud.store.write(old.membership.fence)
    assert not await old.membership.beat()


async def test_two_nodes_may_have_the_same_address(cloud: Cloud, clock: VirtualClock) -> None:
    a = await cloud.start("a", port=8080)
    b = await cloud.start("b", dead=True, port=8080)
    await clock.advance(10)
    assert (members(a), members(b)) == ("ab", "ab")


async def test_whoever_has_the_database_alone_knows_that_all_other_rows_are_of_the_dead(cloud: Cloud) -> None:
    (await cloud.start("a")).membership.drop()
    new = await cloud.start("b", alone=True)
    assert members(new) == "b"


async def test_work_begins_only_where_the_database_says_that_it_belongs(cloud: Cloud, clock: VirtualClock) -> None:
    a = await cloud.start("a")
    assert await cloud.store.write(lambda tx: a.membership.begin(tx, "key")) == 1
    await cloud.start("b")

    with pytest.raises(CairnError, match=r"bus\.not-owner"):  # a does not know of b yet
        await cloud.store.write(lambda tx: a.membership.begin(tx, "key"))
    assert await cloud.store.write(lambda tx: a.membership.begin(tx, None)) == 2

    await clock.advance(2)
    keys = [str(number) for number in range(20)]
    own = next(key for key in keys if a.ring.node_of(key) == a.id)
    other = next(key for key in keys if a.ring.node_of(key) != a.id)
    assert await cloud.store.write(lambda tx: a.membership.begin(tx, own)) == 2
    with pytest.raises(CairnError, match=r"bus\.not-owner"):
        await cloud.store.write(lambda tx: a.membership.begin(tx, other))


async def test_what_others_do_is_read_together_with_each_new_list(cloud: Cloud, clock: VirtualClock) -> None:
    a = await cloud.start("a")
    seen: list[tuple[int, str]] = []

    def survey(tx: Tx) -> Callable[[], None]:
        there = tx.count(ManagementNode)
        return lambda: seen.append((there, members(a)))

    a.membership.survey_by(survey)
    await clock.advance(10)
    assert seen == []
    b = await cloud.start("b")
    await clock.advance(2)
    await b.membership.stop()
    await clock.advance(2)
    assert seen == [(2, "ab"), (1, "a")]


async def test_node_that_is_drained_owns_nothing_and_is_not_gone(cloud: Cloud, clock: VirtualClock) -> None:
    a, b = await cloud.start("a"), await cloud.start("b")
    await clock.advance(2)
    left: list[frozenset[NodeId]] = []
    a.ring.listen(lambda change: left.append(change.left))

    assert await cloud.store.write(lambda tx: change_state(tx, b.id, NodeState.DRAINING))
    assert await cloud.store.write(lambda tx: change_state(tx, b.id, NodeState.DRAINING))
    await clock.advance(10)
    assert [(members(node), len(node.ring.alive), node.fenced) for node in (a, b)] == [("a", 2, [])] * 2
    assert left == [frozenset()]

    assert await cloud.store.write(lambda tx: change_state(tx, b.id, NodeState.RUNNING))
    await clock.advance(2)
    assert (members(a), a.ring.epoch) == ("ab", 4)
    assert not await cloud.store.write(lambda tx: change_state(tx, NodeId("z" * 32), NodeState.DRAINING))


async def test_others_hear_of_a_restart_as_leaving_and_joining(cloud: Cloud, clock: VirtualClock) -> None:
    a, b = await cloud.start("a"), await cloud.start("b")
    await clock.advance(2)
    left: list[frozenset[NodeId]] = []
    a.ring.listen(lambda change: left.append(change.left))
    b.membership.drop()
    await cloud.start("b", dead=True)
    await clock.advance(2)
    assert left == [{b.id}]
    assert members(a) == "ab"


async def test_start_beside_a_row_of_unknown_fate_waits_until_it_is_surely_dead(
    cloud: Cloud, clock: VirtualClock
) -> None:
    (await cloud.start("a")).membership.drop()
    new = await cloud.start("a")
    assert clock.monotonic() == 4.0
    assert members(new) == "a"


async def test_second_process_under_a_living_nodes_id_is_refused(cloud: Cloud, clock: VirtualClock) -> None:
    first = await cloud.start("a")
    with pytest.raises(CairnError, match=r"Another process runs as node a+ at 127\.0\.0\.1:97") as caught:
        await cloud.start("a")
    assert caught.value.code == "node.already-running"
    await clock.advance(10)
    assert first.fenced == []


def test_folder_is_locked_until_released(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with pytest.raises(CairnError, match=r"Process \d+ works with .* already") as caught:
        FolderLock(tmp_path)
    assert caught.value.code == "node.folder-in-use"
    lock.release()
    lock.release()
    FolderLock(tmp_path).release()


def test_locks_of_other_names_do_not_hinder_each_other(tmp_path: Path) -> None:
    locks = [FolderLock(tmp_path), FolderLock(tmp_path, "other.lock")]
    for lock in locks:
        lock.release()


def test_database_is_locked_by_whatever_path_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "cloud.db")
    lock = lock_database(tmp_path / "cloud.db")
    with pytest.raises(
        CairnError, match=rf"Process {os.getpid()} works with the database .*cloud\.db already"
    ) as caught:
        lock_database(tmp_path / "link.db")
    assert caught.value.code == "node.database-in-use"
    lock_database(tmp_path / "other.db").release()
    lock.release()
    lock_database(tmp_path / "link.db").release()


def test_database_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CairnError, match=r"node\.no-database-folder"):
        lock_database(tmp_path / "none" / "cloud.db")


def test_lock_whose_file_was_deleted_while_it_was_waited_for_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted: list[int] = []

    def flock(file: int, how: int) -> None:
        if not deleted:
            (tmp_path / "node.lock").unlink()
            deleted.append(file)
        real(file, how)

    real = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", flock)
    lock = FolderLock(tmp_path)

    assert deleted
    with pytest.raises(CairnError, match="already"):
        FolderLock(tmp_path)
    lock.release()


async def test_fence_is_looked_at_once_in_a_transaction_and_again_after_each_change(cloud: Cloud) -> None:
    a = await cloud.start("a")

    def fn(tx: Tx) -> list[int]:
        epochs = [a.membership.fence(tx), a.membership.fence(tx)]
        tx.update_where(RingEpoch, {}, epoch=7)
        epochs.append(a.membership.fence(tx))
        tx.delete_where(ManagementNode, uuid=a.id)
        with pytest.raises(CairnError, match=r"node\.fenced"):
            a.membership.fence(tx)
        raise Undone(epochs)

    with pytest.raises(Undone) as caught:
        await cloud.store.write(fn)
    assert caught.value.args == ([1, 1, 7],)
    assert await cloud.store.write(a.membership.fence) == 1, "what was taken back is not remembered"


async def test_who_takes_something_away_comes_behind_all_that_is_just_being_begun(cloud: Cloud) -> None:
    a = await cloud.start("a")
    fence_of = a.membership.fence

    def begins(tx: Tx) -> None:
        a.membership._looked = {}
        if tx.count(ManagementNode, port=1) == 0:  # as if it were remembered: no statement that waits
            fence_of(tx)
            tx.update(ManagementNode, a.id, version="begun")

    def takes_away(tx: Tx) -> None:
        hold_beginnings(tx)
        if tx.count(ManagementNode, version="begun") == 0:
            tx.update(ManagementNode, a.id, port=1)

    assert anomalies(cloud.store, lambda: (takes_away, begins)) == []
    assert anomalies(cloud.store, lambda: (takes_away, begins), locking=False) != []


class Undone(Exception):
    """Takes a transaction back."""


async def test_the_state_of_a_node_counts_the_epoch_up_when_it_changes(cloud: Cloud) -> None:
    a = await cloud.start("a")
    for state in (NodeState.DRAINING, NodeState.DRAINING, NodeState.RUNNING):
        assert await cloud.store.write(lambda tx: change_state(tx, a.id, state))  # noqa: B023
    assert not await cloud.store.write(lambda tx: change_state(tx, NodeId("z" * 32), NodeState.DRAINING))
    (epoch,) = await cloud.store.read(lambda tx: tx.find(RingEpoch))
    assert epoch.epoch == 3


async def test_a_row_is_taken_out_unless_its_heart_has_beaten(cloud: Cloud, clock: VirtualClock) -> None:
    a, b = await cloud.start("a"), await cloud.start("b")
    seen = await cloud.store.read(lambda tx: tx.get(ManagementNode, b.id))
    assert seen is not None
    await clock.advance(5)
    assert not await cloud.store.write(lambda tx: take_out(tx, seen))
    b.membership.drop()
    now = await cloud.store.read(lambda tx: tx.get(ManagementNode, b.id))
    assert now is not None
    for _ in range(2):
        assert await cloud.store.write(lambda tx: take_out(tx, now))
    assert await a.membership.beat()
    assert members(a) == "a"


async def test_a_restored_database_counts_from_above_all_epochs_that_agents_have_heard(
    cloud: Cloud, clock: VirtualClock
) -> None:
    await clock.advance(1000)
    heard = (await cloud.start("a")).membership.joined
    await clock.advance(60)
    backup = 3
    await cloud.store.write(lambda tx: tx.update_where(RingEpoch, {}, epoch=backup))

    again = (await cloud.start("b")).membership.joined

    assert again > heard > backup
    assert (await cloud.start("c")).membership.joined == again + 1


async def test_node_with_other_plugins_than_those_that_live_does_not_join(cloud: Cloud) -> None:
    a = await cloud.start("a", plugins="xy")
    epoch = a.ring.epoch

    with pytest.raises(CairnError, match=r"node a+ has y, which this node has not") as caught:
        await cloud.start("b", plugins="x")

    assert caught.value.code == "node.plugins-differ"
    assert (await cloud.rows(), a.ring.epoch) == (["a"], epoch)
    assert members(await cloud.start("c", plugins="xy")) == "ac"


async def test_rows_of_dead_nodes_with_other_plugins_are_no_reason_to_refuse(cloud: Cloud, clock: VirtualClock) -> None:
    a = await cloud.start("a", plugins="x")
    a.membership.drop()
    before = clock.monotonic()

    b = await cloud.start("b", plugins="y")

    assert clock.monotonic() - before >= MISSED_HEARTBEATS * HEARTBEAT_SECONDS
    await clock.advance(10)
    assert members(b) == "b"
    assert members(await cloud.start("c", plugins="z", alone=True)) == "c"


async def test_of_two_with_different_plugins_that_start_at_once_one_joins(cloud: Cloud, clock: VirtualClock) -> None:
    nodes = [Node(name, cloud.store, clock, plugins=plugins) for name, plugins in (("a", "x"), ("b", "y"))]
    cloud.nodes += nodes
    looks = [asyncio.create_task(node.membership._compare()) for node in nodes]
    await clock.advance(0)
    assert all(look.done() for look in looks)  # neither has seen the other

    ends = await asyncio.gather(*(cloud.store.write(node.membership._join) for node in nodes), return_exceptions=True)

    assert [type(end).__name__ for end in ends] == ["_News", "CairnError"]
    assert await cloud.rows() == ["a"]


async def test_node_that_drains_itself_owns_nothing_at_once_and_the_others_hear_of_it(
    cloud: Cloud, clock: VirtualClock
) -> None:
    a = await cloud.start("a")
    b = await cloud.start("b")
    await clock.advance(2)
    assert await clock.run(b.membership.drain())
    assert (members(b), len(b.ring.alive)) == ("a", 2)
    await clock.advance(1)
    assert members(a) == "a"
    assert await clock.run(b.membership.drain())


async def test_last_node_that_takes_work_does_not_drain_itself(cloud: Cloud, clock: VirtualClock) -> None:
    a = await cloud.start("a")
    assert not await a.membership.drain()
    b = await cloud.start("b")
    await clock.advance(2)
    assert await clock.run(a.membership.drain())
    assert not await clock.run(b.membership.drain())
    await clock.advance(2)
    assert (members(a), members(b)) == ("b", "b")
