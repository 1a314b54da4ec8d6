"""Where a page ends, as a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.kernel.error import CairnError
from cairn.kernel.query.cursor import LONGEST, opened, sealed
from cairn.kernel.query.plan import Mark
from cairn.kernel.store.seal import Seals

SEALS = Seals.ephemeral()
VALUES = st.one_of(
    st.none(), st.text(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False)
)


@given(value=VALUES, tie=st.one_of(st.integers(0, 2**63 - 1), st.text(max_size=64)))
def test_what_was_sealed_is_opened(value: str | int | float | None, tie: int | str) -> None:
    mark = Mark(value, tie)
    assert opened(SEALS, "VmInstance", "-name", sealed(SEALS, "VmInstance", "-name", mark)) == mark


def test_its_length_does_not_tell_how_many_rows_there_were() -> None:
    assert len({len(sealed(SEALS, "VmInstance", "", Mark(None, 10**power))) for power in range(18)}) == 1


@pytest.mark.parametrize(
    ("entity", "sort", "seals", "cut"),
    [
        ("Host", "-name", SEALS, 0),
        ("VmInstance", "+name", SEALS, 0),
        ("VmInstance", "-name", Seals.ephemeral(), 0),
        ("VmInstance", "-name", SEALS, 1),
    ],
)
def test_one_of_another_query_or_cloud_is_refused(entity: str, sort: str, seals: Seals, cut: int) -> None:
    text = sealed(SEALS, "VmInstance", "-name", Mark("web", 7))
    with pytest.raises(CairnError, match="would fit") as caught:
        opened(seals, entity, sort, text[cut:])
    assert caught.value.code == "query.bad-after"
    assert "web" not in caught.value.message


@pytest.mark.parametrize("text", ["", "x", "é", "===", "A" * (LONGEST + 1)])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(CairnError) as caught:
        opened(SEALS, "VmInstance", "", text)
    assert caught.value.code == "query.bad-after"
