"""Places at the door: bounded in all and by address, and idle ones make room."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cairn.gateway.door import Door, Limits

FAR, OTHER = "203.0.113.7", "198.51.100.1"


def door(closed: list[int] | None = None, **limits: int) -> Door[int]:
    ended: list[int] = [] if closed is None else closed
    return Door(Limits(**limits), ended.append)


def test_one_address_has_its_share_and_others_theirs() -> None:
    here = door(per_address=2)
    assert [here.enter(number, FAR) for number in range(3)] == [True, True, False]
    assert here.enter(9, OTHER)
    here.leave(0)
    here.leave(0)
    assert here.enter(4, FAR)
    assert here.refused == 1


def test_network_of_ipv6_is_one_place_and_so_is_an_address_in_both_spellings() -> None:
    here = door(per_address=1)
    assert here.enter(1, "2001:db8:1:2::1")
    assert not here.enter(2, "2001:db8:1:2:ffff::9")
    assert here.enter(3, "2001:db8:1:3::1")
    assert here.enter(4, FAR)
    assert not here.enter(5, f"::ffff:{FAR}")


def test_programs_of_this_machine_are_counted_in_all_only() -> None:
    here = door(per_address=1, connections=3)
    for number in range(3):
        here.busy(number) if here.enter(number, "127.0.0.1") else None
    assert len(here) == 3
    for number in range(3):
        here.busy(number)
    assert not here.enter(4, "::1")


def test_connection_that_is_idle_for_longest_makes_room() -> None:
    closed: list[int] = []
    here = door(closed, connections=3)
    for number in range(3):
        here.enter(number, FAR)
    here.busy(0)
    here.busy(1)
    here.idle(1)
    assert here.enter(3, OTHER)
    assert closed == [2]
    here.busy(3)
    assert here.enter(4, OTHER)
    assert closed == [2, 1]
    here.busy(4)
    assert not here.enter(5, OTHER), "all are at work"
    assert (closed, len(here)) == ([2, 1], 3)


_STEPS = st.lists(st.tuples(st.sampled_from(["enter", "leave", "busy", "idle"]), st.integers(0, 9)), max_size=60)


@given(_STEPS)
def test_there_are_never_more_than_the_limits_allow(steps: list[tuple[str, int]]) -> None:
    closed: list[int] = []
    here = door(closed, connections=4, per_address=2)
    there: set[int] = set()
    for what, number in steps:
        if what == "enter" and number not in there:
            before = len(closed)
            if here.enter(number, f"203.0.113.{number % 3}"):
                there.add(number)
            there -= set(closed[before:])
        elif what == "leave":
            here.leave(number)
            there.discard(number)
        elif what != "enter" and number in there:
            (here.busy if what == "busy" else here.idle)(number)
        assert len(here) == len(there) <= 4
        assert all(sum(one % 3 == place for one in there) <= 2 for place in range(3))
