from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cairn.plugins.flat_network.pages import pages


@given(st.lists(st.integers(1, 120)), st.integers(1, 100))
def test_all_items_are_there_in_order_and_no_page_is_too_large_that_has_more_than_one(
    sizes: list[int], most: int
) -> None:
    found = list(pages(sizes, lambda size: size, most))
    assert [size for page in found for size in page] == sizes
    assert all(page and (len(page) == 1 or sum(page) <= most) for page in found)
    assert all(sum(one) + two[0] > most for one, two in pairwise(found))
