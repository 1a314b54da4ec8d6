from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.agents.protocol.names import MOST_BUCKETS, bucket_of, buckets_for, digests, host_name

NAMES = st.dictionaries(st.ip_addresses(v=4).map(str), st.text("abcdef-", min_size=1, max_size=5), max_size=20)


@given(NAMES, st.integers(1, 8), st.data())
def test_what_differs_is_in_buckets_that_differ(names: dict[str, str], buckets: int, data: st.DataObject) -> None:
    other = dict(names)
    changed = data.draw(st.lists(st.sampled_from(sorted(names)), unique=True) if names else st.just([]))
    for ip in changed:
        other[ip] = f"{names[ip].strip('-')}x"
    before, after = digests(names, buckets), digests(other, buckets)

    differ = {number for number in range(buckets) if before[number] != after[number]}
    assert differ == {bucket_of(ip, buckets) for ip in changed}


@given(NAMES)
def test_neither_order_nor_the_way_of_writing_makes_another_digest(names: dict[str, str]) -> None:
    turned = {ip: host_name(names[ip], ip).upper() for ip in reversed(names)}
    assert digests(turned, 3) == digests(names, 3)
    assert digests({}, 3) == ["", "", ""]


@pytest.mark.parametrize(("names", "buckets"), [(0, 1), (39, 1), (40, 2), (10_000, 251), (1_000_000, MOST_BUCKETS)])
def test_buckets_are_small_as_long_as_they_are_not_too_many(names: int, buckets: int) -> None:
    assert buckets_for(names) == buckets


@pytest.mark.parametrize(
    ("text", "name"),
    [("Far!", "far"), ("web.example.org", "web-example-org"), ("-.-", "ip-10-0-0-1"), ("x" * 70, "x" * 63)],
)
def test_any_text_makes_a_host_name(text: str, name: str) -> None:
    assert host_name(text, "10.0.0.1") == name
