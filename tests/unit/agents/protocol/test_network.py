from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cairn.agents.protocol.network import tunnel_generation

ADDRESSES = st.lists(st.ip_addresses(v=4).map(str), max_size=8)


@given(ADDRESSES, ADDRESSES)
def test_generations_are_the_same_exactly_where_the_sets_are(one: list[str], other: list[str]) -> None:
    assert (tunnel_generation(one) == tunnel_generation(other)) is (set(one) == set(other))


@given(ADDRESSES)
def test_neither_order_nor_repetition_makes_another_generation(ends: list[str]) -> None:
    assert tunnel_generation([*reversed(ends), *ends]) == tunnel_generation(ends)
