from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

import msgspec
from msgspec import Struct

from cairn.kernel.flow.journal import decode_data, encode_data, fill


class Color(StrEnum):
    RED = "Red"


class Part(Struct, frozen=True, kw_only=True):
    size: int
    when: datetime | None = None


def test_data_comes_back_in_its_declared_types() -> None:
    data = {
        "color": Color.RED,
        "parts": [Part(size=1, when=datetime(2026, 1, 1, tzinfo=UTC))],
        "none": None,
        "n": 2**60,
    }
    types = {"color": Color, "parts": list[Part], "none": str | None, "n": int}

    assert decode_data(encode_data(data), types) == data


def test_fields_that_nobody_knows_any_more_are_carried_along() -> None:
    data = decode_data(b'{"old": [1, 2], "n": 1}', {"n": int})

    assert data["n"] == 1
    assert msgspec.json.decode(encode_data(data)) == {"old": [1, 2], "n": 1}


def test_fill_takes_by_name_and_leaves_defaults() -> None:
    assert fill(Part, {"size": 3, "other": "x"}) == Part(size=3)
