from __future__ import annotations

from typing import ClassVar, cast

import pytest
from msgspec import Struct

from cairn.kernel.api import Access, ApiChange, ApiCommand, ApiCreate, ApiDelete, Http, Uuid, action, delete, post
from cairn.kernel.config import Setting
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.limits import CallLimit, call_limit
from cairn.kernel.slots import Slots

FETCH = call_limit("test-slots", "fetch", "things being fetched", in_all=3, of_account=2)


class MakeThing(ApiCreate, frozen=True, kw_only=True, tag="test-slots.make"):
    """Makes a thing."""

    http: ClassVar[Http] = post("/things")
    access: ClassVar[Access] = Access.ACCOUNT


class FetchThing(ApiCreate, frozen=True, kw_only=True, tag="test-slots.fetch"):
    """Makes a thing, slowly."""

    http: ClassVar[Http] = post("/fetched-things")
    access: ClassVar[Access] = Access.ACCOUNT
    limit: ClassVar[CallLimit | None] = FETCH


class TurnThing(ApiChange, frozen=True, kw_only=True, tag="test-slots.turn"):
    """Turns a thing."""

    http: ClassVar[Http] = action("/things/{uuid}/actions", "turn")
    access: ClassVar[Access] = Access.ACCOUNT


class RemoveThing(ApiDelete, frozen=True, kw_only=True, tag="test-slots.remove"):
    """Removes a thing."""

    route: ClassVar[str | None] = "uuid"
    http: ClassVar[Http] = delete("/things/{uuid}")
    access: ClassVar[Access] = Access.ACCOUNT

    uuid: Uuid


class RuleThings(ApiChange, frozen=True, kw_only=True, tag="test-slots.rule"):
    """What only an administrator may do."""

    http: ClassVar[Http] = action("/things/{uuid}/actions", "rule")


class Call(Struct, eq=False):
    """An accepted call."""

    message: ApiCommand[object]
    actor: str | None
    admin: bool = False

    @property
    def api(self) -> str:
        """Its name."""
        return type(self.message).__name__


class Node:
    """The slots of a node, with settings that a test may change."""

    def __init__(self, parallelism: int = 20, **values: int) -> None:
        self.parallelism = parallelism
        self.values = values
        self.slots: Slots[Call] = Slots(lambda: self.parallelism, self._setting)

    def _setting(self, setting: Setting[int]) -> int:
        return self.values.get(setting.name.replace(".", "_"), setting.default)

    def wait(
        self, kind: type[ApiCommand[object]], actor: str, number: int | None = None, *, admin: bool = False
    ) -> Call:
        """One call about thing `number`."""
        fields = {} if number is None else {"resource_uuid" if issubclass(kind, ApiCreate) else "uuid": uuid(number)}
        call = Call(kind(**fields), actor, admin)
        self.slots.wait(call)
        return call

    def flood(self, kind: type[ApiCommand[object]], actor: str, count: int, *, admin: bool = False) -> None:
        """So many calls, each about a thing of its own; those that get a place run for ever."""
        for number in range(count):
            self.wait(kind, actor, 1000 + number, admin=admin)
        self.take()

    def take(self) -> list[Call]:
        """Those that have a place now and had none."""
        found: list[Call] = []
        while (call := self.slots.take()) is not None:
            found.append(call)
        return found


def uuid(number: int) -> str:
    return f"{number:032x}"


def api(kind: type) -> type[ApiCommand[object]]:
    return cast("type[ApiCommand[object]]", kind)


MAKE, FETCHED, TURN, REMOVE, RULE = map(api, (MakeThing, FetchThing, TurnThing, RemoveThing, RuleThings))


def test_one_account_s_flood_leaves_places_to_others() -> None:
    node = Node(20)  # 16 ordinary, a share of 4, reserves of 2
    node.flood(MAKE, "mallory", 500)

    alice = node.wait(MAKE, "alice")

    assert node.take() == [alice]


def test_flood_of_all_accounts_leaves_administrators_their_places() -> None:
    node = Node(20)
    for account in range(50):
        node.flood(MAKE, f"mallory-{account}", 10)
        node.flood(REMOVE, f"mallory-{account}", 10)

    admin = node.wait(RULE, "admin", 1, admin=True)

    assert node.take() == [admin]


def test_account_that_has_used_up_its_share_can_still_free_things() -> None:
    node = Node(20)
    node.flood(MAKE, "mallory", 500)

    remove = node.wait(REMOVE, "mallory", 7)

    assert node.take() == [remove]


def test_one_account_s_removals_leave_places_to_those_of_others() -> None:
    node = Node(20)
    for account in range(10):
        node.flood(MAKE, f"mallory-{account}", 50)
    node.flood(REMOVE, "mallory-0", 50)

    remove = node.wait(REMOVE, "alice", 7)

    assert node.take() == [remove]


def test_administrator_may_have_all_that_is_ordinary() -> None:
    node = Node(20)
    node.flood(MAKE, "admin", 17, admin=True)
    assert node.slots.waiting == 0


def test_slow_kind_has_its_limits_in_all_and_for_an_account_even_for_administrators() -> None:
    node = Node(100)
    for account in ("admin", "mallory"):
        for _ in range(50):
            node.wait(FETCHED, account, admin=account == "admin")

    assert [call.actor for call in node.take()] == ["admin", "mallory", "admin"]
    alice = node.wait(MAKE, "mallory")
    assert node.take() == [alice]


def test_handful_of_places_has_no_reserve() -> None:
    node = Node(2)
    node.flood(MAKE, "admin", 5, admin=True)
    assert node.slots.waiting == 3


def test_changed_settings_are_in_force_at_once() -> None:
    node = Node(20, parallelism_accountShare=25)
    node.flood(MAKE, "mallory", 16)
    assert node.slots.waiting == 12

    node.values["parallelism_accountShare"] = 50
    node.slots.changed()
    assert len(node.take()) == 4
    node.values["parallelism_reserve"] = 0
    node.slots.changed()
    assert len(node.take()) == 2


def test_removal_does_not_overtake_what_its_account_asked_for_before() -> None:
    node = Node(20)
    node.flood(MAKE, "mallory", 4)
    node.wait(TURN, "mallory", 7)
    node.wait(REMOVE, "mallory", 7)

    assert node.take() == []
    other = node.wait(REMOVE, "admin", 7, admin=True)
    assert node.take() == [other]


def test_job_that_had_begun_has_a_place_whatever_the_limits_are() -> None:
    node = Node(2)
    turns = [node.slots.hold(Call(MAKE(), "mallory")) for _ in range(5)]
    waiting = node.wait(MAKE, "alice")
    assert node.take() == []

    for turn in turns[:4]:
        node.slots.leave(turn)

    assert node.take() == [waiting]


def test_waiting_are_counted_by_api_and_the_oldest_is_known() -> None:
    node = Node(1)
    node.flood(MAKE, "mallory", 1)
    first = node.wait(TURN, "alice", 1)
    node.wait(REMOVE, "alice", 2)

    assert node.slots.waiting_by_api == {"TurnThing": 1, "RemoveThing": 1}
    assert node.slots.oldest is first
    assert node.slots.waiting == 2


def refused(node: Node, kind: type[ApiCommand[object]], actor: str, *, admin: bool = False) -> CairnError | None:
    message = kind(uuid=uuid(1)) if kind in (REMOVE, TURN) else kind()
    try:
        node.slots.check(message, actor, admin=admin)
    except CairnError as error:
        return error
    return None


def test_account_s_backlog_is_bounded_and_it_can_still_free_things() -> None:
    node = Node(backlog_account=10)
    for _ in range(10):
        node.slots.opened("mallory")

    error = refused(node, MAKE, "mallory")

    assert error is not None
    assert (error.code, error.kind) == ("job.backlog-full", ErrorKind.EXHAUSTED)
    assert "10 jobs of this account are open" in error.message
    assert refused(node, MAKE, "alice") is None
    assert refused(node, REMOVE, "mallory") is None
    node.slots.opened("mallory")
    assert refused(node, REMOVE, "mallory") is not None
    assert refused(node, MAKE, "mallory", admin=True) is None


def test_backlog_in_all_is_bounded_and_tenants_are_not_told_of_others() -> None:
    node = Node(backlog=20)
    for number in range(20):
        node.slots.opened(f"account-{number}")

    error = refused(node, MAKE, "alice")

    assert error is not None
    assert "20" not in error.message
    assert error.operator is not None
    assert "20 jobs are open" in error.operator
    assert refused(node, MAKE, "admin", admin=True) is None
    node.slots.ended("account-3")
    assert refused(node, MAKE, "alice") is None


def test_call_that_is_being_written_counts_until_it_is_a_job() -> None:
    node = Node(backlog_account=1)
    with pytest.raises(ValueError, match="broken"), node.slots.entering("alice"):
        assert refused(node, MAKE, "alice") is not None
        raise ValueError("broken")

    assert refused(node, MAKE, "alice") is None
