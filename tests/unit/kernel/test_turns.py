from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cairn.kernel.turns import Kind, Pool, Turn, Turns

SHARE = 3


class Desk:
    """A pool for all, and a reserve."""

    def __init__(self, size: int = 4, reserve: int = 2) -> None:
        self.size = size
        self.ordinary = Pool("ordinary", lambda: self.size, lambda privileged: self.size if privileged else SHARE)
        self.reserve = Pool("reserve", lambda: reserve, lambda privileged: 1)
        self.slow = Kind("slow", lambda: 2, lambda: 1)
        self.turns: Turns[str] = Turns([self.ordinary, self.reserve])

    def turn(
        self, name: str, *, frees: bool = False, slow: bool = False, privileged: bool = False, line: str | None = None
    ) -> Turn[str]:
        """One whose account is the part of its name before the number."""
        pools = (self.ordinary, self.reserve) if frees else (self.ordinary,)
        kind = self.slow if slow else None
        return Turn(name, name.rstrip("0123456789"), pools, kind=kind, privileged=privileged, line=line)

    def add(self, *names: str, frees: bool = False, slow: bool = False, line: str | None = None) -> list[Turn[str]]:
        made = [self.turn(name, frees=frees, slow=slow, line=line) for name in names]
        for one in made:
            self.turns.add(one)
        return made

    def take(self) -> list[str]:
        found = []
        while (turn := self.turns.take()) is not None:
            found.append(turn.what)
        return found


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_accounts_take_turns_and_each_keeps_its_order(desk: Desk) -> None:
    desk.size = 9
    desk.add("a1", "a2", "a3", "b1", "b2", "c1")

    assert desk.take() == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_account_has_no_more_than_its_share_and_the_rest_is_for_others(desk: Desk) -> None:
    first, *_ = desk.add("a1", "a2", "a3", "a4", "a5")
    assert desk.take() == ["a1", "a2", "a3"]
    desk.add("b1")
    assert desk.take() == ["b1"]

    desk.turns.leave(first)

    assert desk.take() == ["a4"]


def test_privileged_account_may_have_all(desk: Desk) -> None:
    for number in range(5):
        desk.turns.add(desk.turn(f"a{number}", privileged=True))

    assert desk.take() == ["a0", "a1", "a2", "a3"]


def test_reserve_is_there_when_all_else_is_taken(desk: Desk) -> None:
    desk.add("a1", "a2", "a3", "b1", "b2")
    assert len(desk.take()) == 4

    desk.add("a4", "a5", "c1", "c2", frees=True)

    assert desk.take() == ["a4", "c1"]  # one of the reserve for each account


def test_slow_kind_holds_up_nobody_but_itself(desk: Desk) -> None:
    slow = desk.add("a1", "a2", "b1", "c1", slow=True)
    desk.add("a3", "c2")

    assert desk.take() == ["a1", "b1", "c2", "a3"]
    desk.turns.leave(slow[2])
    assert desk.take() == ["c1"]


def test_who_leaves_while_waiting_holds_up_no_other(desk: Desk) -> None:
    desk.size = 1
    _, second, _ = desk.add("a1", "a2", "a3")
    desk.take()

    desk.turns.leave(second)
    desk.turns.leave(second)
    desk.size = 2

    assert desk.take() == ["a3"]


def test_line_keeps_its_order_though_the_later_could_have_a_place_of_the_reserve(desk: Desk) -> None:
    desk.size = 1
    first, *_ = desk.add("a1")
    desk.take()
    start, *_ = desk.add("a2", line="vm")
    desk.add("a3", "a4", frees=True, line="vm")
    desk.add("a5", frees=True)

    assert desk.take() == ["a5"]
    desk.turns.leave(first)
    assert desk.take() == ["a2"]
    assert start.held is desk.ordinary
    desk.turns.leave(start)
    assert desk.take() == ["a3"]


def test_line_goes_on_when_its_first_leaves_without_a_turn(desk: Desk) -> None:
    desk.size = 0
    first, *_ = desk.add("a1", line="vm")
    desk.add("a2", frees=True, line="vm")
    assert desk.take() == []

    desk.turns.leave(first)

    assert desk.take() == ["a2"]


def test_what_has_begun_has_its_place_at_once_and_it_counts(desk: Desk) -> None:
    held = [desk.turn(f"a{number}") for number in range(6)]
    for turn in held:
        desk.turns.hold(turn)
    desk.add("b1")

    assert desk.ordinary.taken == 6
    assert desk.take() == []
    for turn in held[:3]:
        desk.turns.leave(turn)
    assert desk.take() == ["b1"]


def test_changed_size_is_in_force_at_the_next_turn(desk: Desk) -> None:
    desk.size = 1
    desk.add("a1", "b1")
    assert desk.take() == ["a1"]

    desk.size = 2

    assert desk.take() == ["b1"]


def test_changed_share_is_in_force_once_it_is_told() -> None:
    share = 1
    pool = Pool("all", lambda: 10, lambda privileged: share)
    turns: Turns[int] = Turns([pool])
    for number in range(3):
        turns.add(Turn(number, "a", (pool,)))
    assert [turns.take() is not None for _ in range(2)] == [True, False]

    share = 2
    turns.changed()

    assert [turns.take() is not None for _ in range(2)] == [True, False]


def test_accounts_that_have_left_are_forgotten(desk: Desk) -> None:
    for number in range(100):
        (turn,) = desk.add(f"account{'x' * number}", line=f"line-{number}")
        desk.take()
        desk.turns.leave(turn)

    assert (desk.turns._accounts, desk.turns._lines) == ({}, {})
    assert not any(ring for rings in desk.turns._rings.values() for ring in rings.values())


def test_turn_looks_at_no_more_with_many_accounts() -> None:
    asked: list[bool] = []

    def share(privileged: bool) -> int:
        asked.append(privileged)
        return 1

    def cost(accounts: int) -> int:
        pool = Pool("all", lambda: 3, share)
        turns: Turns[int] = Turns([pool])
        for number in range(accounts):
            for _ in range(2):
                turns.add(Turn(number, f"a{number}", (pool,)))
        asked.clear()
        for _ in range(10):
            turn = turns.take()
            assert turn is not None
            turns.leave(turn)
        return len(asked)

    assert cost(2000) == cost(20)


class Fairness(RuleBasedStateMachine):
    """Any order of coming, going, and changed sizes keeps the rules that the module's essay states."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.running: list[Turn[str]] = []
        self.begun: dict[str, list[int]] = {}
        self.number = 0
        self.order: dict[int, Turn[str]] = {}

    @rule(
        account=st.sampled_from("abc"),
        frees=st.booleans(),
        slow=st.booleans(),
        privileged=st.booleans(),
        line=st.sampled_from([None, "x", "y"]),
    )
    def come(self, account: str, frees: bool, slow: bool, privileged: bool, line: str | None) -> None:
        self.number += 1
        turn = self.desk.turn(f"{account}{self.number}", frees=frees, slow=slow, privileged=privileged, line=line)
        self.desk.turns.add(turn)
        self.order[self.number] = turn
        self.give()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        turn = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self.desk.turns.leave(turn)
        self.give()

    @precondition(lambda self: self.desk.turns.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        waiting = list(self.desk.turns.waiting)
        turn = waiting[data.draw(st.integers(0, len(waiting) - 1))]
        self.desk.turns.leave(turn)
        self.order = {number: one for number, one in self.order.items() if one is not turn}
        self.give()

    @rule(size=st.integers(0, 5))
    def resize(self, size: int) -> None:
        self.desk.size = size
        self.desk.turns.changed()
        self.give()

    def give(self) -> None:
        while (turn := self.desk.turns.take()) is not None:
            self.within_limits(turn)
            self.in_order(turn)
            self.running.append(turn)
            self.order = {number: one for number, one in self.order.items() if one is not turn}

    def within_limits(self, turn: Turn[str]) -> None:
        desk = self.desk
        mine = [one for one in [*self.running, turn] if one.account == turn.account]
        held = Counter(one.held for one in mine)
        assert turn.held is not None
        assert turn.held.taken <= turn.held.size()
        assert held[turn.held] <= turn.held.share(turn.privileged)
        if turn.kind is not None:
            assert desk.slow.taken <= 2
            assert sum(one.kind is not None for one in mine) == 1

    def in_order(self, turn: Turn[str]) -> None:
        """Nothing of its line, and nothing of its account that is just like it, came before it and still waits."""
        number = next(number for number, one in self.order.items() if one is turn)
        earlier = [one for other, one in self.order.items() if other < number]
        assert not any(turn.line is not None and one.line == turn.line for one in earlier)
        assert not any(one.key == turn.key and one.line is None and turn.line is None for one in earlier)

    @invariant()
    def places_are_counted_right(self) -> None:
        for pool in (self.desk.ordinary, self.desk.reserve):
            assert pool.taken == sum(turn.held is pool for turn in self.running)
        assert self.desk.slow.taken == sum(turn.kind is not None for turn in self.running)
        assert list(self.desk.turns.waiting) == list(self.order.values())

    @invariant()
    def nobody_waits_beside_a_place_that_he_may_have(self) -> None:
        seen: set[str] = set()
        for turn in self.desk.turns.waiting:
            line = turn.line if isinstance(turn.line, str) else None
            if line is None or line not in seen:
                assert not self.has_room(turn), turn.what
            if line is not None:
                seen.add(line)

    def has_room(self, turn: Turn[str]) -> bool:
        mine = [one for one in self.running if one.account == turn.account]
        if turn.kind is not None and (self.desk.slow.taken >= 2 or any(one.kind is not None for one in mine)):
            return False
        return any(self._free(pool, mine, turn.privileged) for pool in turn.pools)

    def _free(self, pool: Pool, mine: Sequence[Turn[str]], privileged: bool) -> bool:
        return pool.taken < pool.size() and sum(one.held is pool for one in mine) < pool.share(privileged)


Fairness.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestFairness = Fairness.TestCase
