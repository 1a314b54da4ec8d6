from __future__ import annotations

from cairn.kernel.duty import Duties
from cairn.kernel.ids import NodeId
from cairn.kernel.ring import Ring

A, B = NodeId("a"), NodeId("b")


def test_every_duty_is_one_members_and_none_is_before_there_are_members() -> None:
    ring = Ring()
    duties = [Duties(node, ring) for node in (A, B)]
    names = [f"loop:{number}" for number in range(50)]
    assert not any(one.is_mine(name) for one in duties for name in names)
    assert not duties[0].members

    ring.set_members([A, B], 3)
    taken = [[name for name in names if one.is_mine(name)] for one in duties]
    assert sorted(taken[0] + taken[1]) == sorted(names)
    assert all(taken)
    assert sorted(duties[0].members) == [A, B]


def test_those_who_listen_hear_of_each_change_of_the_members() -> None:
    ring = Ring()
    heard: list[int] = []
    duties = Duties(A, ring)
    duties.listen(lambda: heard.append(len(duties.members)))
    ring.set_members([A], 1)
    ring.set_members([A, B], 2)
    assert heard == [1, 2]


def test_a_node_without_a_ring_has_all_duties() -> None:
    duties = Duties(A)
    duties.listen(lambda: None)
    assert duties.is_mine("loop:any")
    assert list(duties.members) == [A]


def test_a_node_that_is_being_drained_is_there_and_has_no_duties() -> None:
    ring = Ring()
    ring.set_members([A], 1, draining=[B])
    duties = Duties(B, ring)
    assert sorted(duties.members) == [A, B]
    assert not any(duties.is_mine(f"loop:{number}") for number in range(50))
