from __future__ import annotations

from msgspec import Struct

from cairn.kernel.resource import taken


class Made(Struct, frozen=True, kw_only=True):
    uuid: str
    name: str
    size: int


class First(Struct, frozen=True, kw_only=True):
    uuid: str = "first"
    name: str = "first"


class Second(Struct, frozen=True, kw_only=True):
    name: str = "second"
    size: int = 2


def test_taken_fields_come_from_values_then_from_the_first_source_that_has_them() -> None:
    assert taken(Made, First(), Second(), uuid="given") == Made(uuid="given", name="first", size=2)
