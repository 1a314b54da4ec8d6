from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

import pytest
from msgspec import Meta, Raw, Struct

from cairn.gateway.words import fits, found, hidden, nearest
from cairn.kernel.api import Uuid


class One(StrEnum):
    ONLY = "Only"


class Empty(Struct):
    pass


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (str, "text would fit"),
        (Annotated[str, Meta(max_length=3)], "text of at most 3 characters would fit"),
        (Annotated[str, Meta(min_length=2, max_length=2)], "text of 2 characters would fit"),
        (Annotated[str, Meta(pattern="^a+$")], "text that matches ^a+$ would fit"),
        (Uuid, "32 lower-case hex digits would fit"),
        (Uuid | None, "32 lower-case hex digits or null would fit"),
        (int, "a whole number would fit"),
        (Annotated[int, Meta(gt=0, lt=9)], "a whole number above 0 below 9 would fit"),
        (Annotated[int, Meta(multiple_of=4)], "a whole number in steps of 4 would fit"),
        (Annotated[float, Meta(ge=0.5)], "a number from 0.5 would fit"),
        (bool, "true or false would fit"),
        (One, "Only would fit"),
        (Literal["a", "b"], "one of a, b would fit"),
        (Annotated[list[int], Meta(max_length=2)], "a list of at most 2 items, each a whole number would fit"),
        (dict[str, int], "an object whose values are each a whole number would fit"),
        (datetime, "a time such as 2026-11-22T13:05:09Z would fit"),
        (Raw, "anything would fit"),
        (bytes, "bytes would fit"),
        (Empty, "{} would fit"),
    ],
)
def test_what_fits_is_said_in_words(kind: object, sentence: str) -> None:
    assert fits(kind) == sentence


def test_what_was_found_is_cut_and_always_printable() -> None:
    assert found("x" * 500) == f'found "{"x" * 79}…'
    assert found(float("inf")) == "found null"
    assert found(object).startswith("found <class")
    assert hidden("hunter2") == "found a text of 7 characters"
    assert hidden(5) == "found no text"


def test_nearest_ignores_case_and_gives_up_on_strangers() -> None:
    assert nearest("ZONEUUID", ["zoneUuid", "name"]) == "zoneUuid"
    assert nearest("quite else", ["zoneUuid", "name"]) == ""
