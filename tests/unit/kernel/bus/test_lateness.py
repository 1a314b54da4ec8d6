from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.kernel.bus.lateness import WINDOW_SECONDS, Lateness


def test_first_envelope_is_on_time_whatever_the_clocks_say() -> None:
    assert Lateness().of(1_000_000.0, 3.0) == 0
    assert Lateness().of(3.0, 1_000_000.0) == 0


def test_envelope_is_as_late_as_it_was_slower_than_the_fastest() -> None:
    lateness = Lateness()
    lateness.of(100.0, 7.5)
    assert lateness.of(101.0, 8.0) == 0
    assert lateness.of(102.0, 19.0) == pytest.approx(10.0)


def test_fastest_one_is_remembered_over_a_pause() -> None:
    lateness = Lateness()
    lateness.of(0.0, 0.0)
    assert lateness.of(1.0, 1.0 + 10 * WINDOW_SECONDS) == pytest.approx(10 * WINDOW_SECONDS)


def test_clocks_that_drift_apart_make_nothing_late_for_long() -> None:
    lateness = Lateness()
    late = [lateness.of(at, at * 1.0001) for at in range(0, 36_000, 10)]
    assert max(late) < 0.0001 * 3 * WINDOW_SECONDS


@given(st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 100)), min_size=1))
def test_nothing_comes_too_early(envelopes: list[tuple[float, float]]) -> None:
    lateness = Lateness()
    for sent, under_way in sorted(envelopes, key=sum):
        assert 0 <= lateness.of(sent, sent + under_way) <= 100
