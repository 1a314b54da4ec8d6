from __future__ import annotations

from collections import Counter
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cairn.kernel.error import CairnError
from cairn.kernel.ids import NodeId, RandomIds
from cairn.kernel.ring import Ring, RingChange

_ids = RandomIds(seed=2)
KEYS = [_ids.new() for _ in range(100_000)]
NEIGHBOURS = [f"{number:032x}" for number in range(100_000)]  # ids that differ only in their last digits

members_of = st.sets(st.uuids(version=4).map(lambda uuid: NodeId(UUID(str(uuid)).hex)), min_size=5, max_size=5)


def ring_of(*members: str, epoch: int = 1) -> Ring:
    ring = Ring()
    ring.set_members([NodeId(member) for member in members], epoch)
    return ring


def test_empty_ring_says_that_no_node_is_in_service() -> None:
    with pytest.raises(CairnError) as caught:
        Ring().node_of("key")
    assert caught.value.code == "ring.empty"


def test_one_node_owns_a_key_and_nobody_does_without_members() -> None:
    ring = Ring()
    assert not ring.owns(NodeId("a"), "key")
    ring.set_members([NodeId("a"), NodeId("b")], 1)
    for key in ("one", "two", "three"):
        assert [node for node in ("a", "b") if ring.owns(NodeId(node), key)] == [ring.node_of(key)]


def test_single_member_owns_everything() -> None:
    assert {ring_of("a").node_of(key) for key in KEYS[:100]} == {"a"}


@settings(max_examples=8, deadline=None, derandomize=True)
@given(members_of)
def test_five_nodes_carry_a_fifth_each(members: set[NodeId]) -> None:
    ring = ring_of(*members)
    for keys in (KEYS, NEIGHBOURS):
        shares = Counter(map(ring.node_of, keys))
        assert set(shares) == members
        for number in shares.values():
            assert 0.17 <= number / len(keys) <= 0.23


@settings(max_examples=5, deadline=None, derandomize=True)
@given(members_of)
def test_only_the_share_of_who_leaves_or_joins_moves(members: set[NodeId]) -> None:
    gone, *rest = sorted(members)
    five, four = ring_of(*members), ring_of(*rest)
    moved = 0
    for key in KEYS:
        owner, later = five.node_of(key), four.node_of(key)
        assert (owner == gone) == (owner != later)
        moved += owner != later
    assert 0.17 <= moved / len(KEYS) <= 0.23


def test_nodes_with_the_same_members_agree_whatever_way_they_came_there() -> None:
    one, other = ring_of("a", "b", "c"), ring_of("c")
    other.set_members([NodeId("c"), NodeId("b")], 2)
    other.set_members([NodeId("b"), NodeId("a"), NodeId("c")], 3)
    assert [one.node_of(key) for key in KEYS[:1000]] == [other.node_of(key) for key in KEYS[:1000]]


def test_listeners_hear_who_joined_left_and_restarted() -> None:
    ring = ring_of("a", "b")
    heard: list[RingChange] = []
    end = ring.listen(heard.append)
    ring.set_members([NodeId("b"), NodeId("c")], 2, restarted=[NodeId("b"), NodeId("c")])
    end()
    end()
    ring.set_members([NodeId("b")], 3)
    assert heard == [
        RingChange(
            epoch=2,
            members=frozenset({NodeId("b"), NodeId("c")}),
            joined=frozenset({NodeId("b"), NodeId("c")}),
            left=frozenset({NodeId("a"), NodeId("b")}),
        )
    ]
    assert (ring.epoch, sorted(ring.members)) == (3, ["b"])


def test_old_news_changes_nothing() -> None:
    ring = ring_of("a", "b", epoch=5)
    assert not ring.set_members([NodeId("a")], 4)
    assert not ring.set_members([NodeId("b"), NodeId("a")], 5)
    assert ring.members == {"a", "b"}


def test_one_epoch_with_two_lists_of_members_is_refused() -> None:
    with pytest.raises(ValueError, match=r"epoch 5 has members \['a', 'b'\]"):
        ring_of("a", "b", epoch=5).set_members([NodeId("a")], 5)
