from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cairn.kernel.store.names import short_name, with_short_names

NAMES = st.text("abc_", min_size=1, max_size=90)


@given(NAMES, NAMES)
def test_no_name_is_too_long_and_none_becomes_another(one: str, other: str) -> None:
    assert len(short_name(one)) <= 64
    assert (short_name(one) == short_name(other)) == (one == other)
    assert len(one) > 64 or short_name(one) == one


def test_only_the_long_names_of_a_statement_are_cut() -> None:
    long = "ix_" + "a" * 70
    assert with_short_names(f"CREATE INDEX {long} ON host (a)") == f"CREATE INDEX {short_name(long)} ON host (a)"
    assert with_short_names(f"CREATE INDEX `{long}` ON host (a)") == f"CREATE INDEX `{short_name(long)}` ON host (a)"
