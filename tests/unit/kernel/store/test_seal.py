"""Envelopes: they open to what was put in, for their own column and with their own key only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.kernel.error import CairnError
from cairn.kernel.store.seal import KEY_BYTES, SealKey, Seals, is_envelope

SEALS = Seals([SealKey(b"k" * KEY_BYTES)])
COLUMN = "host.password"


def code(seals: Seals, envelope: bytes, column: str = COLUMN) -> str:
    with pytest.raises(CairnError) as found:
        seals.open(envelope, column)
    return found.value.code


@given(st.binary(max_size=200))
def test_what_was_sealed_opens_and_does_not_show(value: bytes) -> None:
    envelope = SEALS.seal(value, COLUMN)
    assert SEALS.open(envelope, COLUMN) == value
    assert len(value) < 4 or value not in envelope[len(SEALS.current.head) :]
    assert is_envelope(envelope)


@given(st.text(max_size=50))
def test_text_opens_as_the_text_it_was(value: str) -> None:
    envelope = SEALS.seal_text(value, COLUMN)
    assert SEALS.open_text(envelope, COLUMN) == value
    assert SEALS.is_current(envelope)


def test_same_value_never_has_the_same_envelope() -> None:
    assert len({SEALS.seal(b"x", COLUMN) for _ in range(2000)}) == 2000


@given(st.data())
def test_changed_envelope_does_not_open(data: st.DataObject) -> None:
    envelope = bytearray(SEALS.seal(b"secret", COLUMN))
    at = data.draw(st.integers(0, len(envelope) - 1))
    envelope[at] ^= data.draw(st.integers(1, 255))
    assert code(SEALS, bytes(envelope)) in {"secret.damaged", "secret.not-sealed", "secret.key-missing"}


def test_envelope_opens_in_its_own_column_only() -> None:
    assert code(SEALS, SEALS.seal(b"x", COLUMN), "host.private_key") == "secret.damaged"


def test_other_key_does_not_open_and_is_named() -> None:
    other = Seals([SealKey(b"o" * KEY_BYTES)])
    with pytest.raises(CairnError, match=other.current.id) as found:
        SEALS.open(other.seal(b"x", COLUMN), COLUMN)
    assert found.value.code == "secret.key-missing"


def test_value_in_clear_is_refused() -> None:
    assert code(SEALS, b"hunter2") == "secret.not-sealed"
    with pytest.raises(CairnError) as found:
        SEALS.open_text("hunter2", COLUMN)
    assert found.value.code == "secret.not-sealed"


def test_first_key_seals_and_all_open() -> None:
    both = Seals([SealKey(b"n" * KEY_BYTES), *SEALS.keys.values()])
    old, new = SEALS.seal(b"x", COLUMN), both.seal(b"y", COLUMN)
    assert (both.open(old, COLUMN), both.open(new, COLUMN)) == (b"x", b"y")
    assert both.is_current(new) and not both.is_current(old)
    assert both.knows(SEALS.current.id) and not SEALS.knows(both.current.id)


def test_key_is_not_printed() -> None:
    assert "kkk" not in repr(SEALS.current)
