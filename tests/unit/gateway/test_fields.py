from __future__ import annotations

from typing import Annotated

import pytest
from msgspec import Meta, Struct

from cairn.gateway.fields import markers, wrong_fields, wrong_value
from cairn.kernel.api import Refers, Secret


class Disk(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    size_bytes: Annotated[int, Meta(ge=1)]
    label: str = ""


class Machine(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1)]
    disks: list[Disk] = []
    limits: dict[str, int] = {}
    root: Disk | None = None
    password: Annotated[str, Secret(), Meta(min_length=4)] | None = None
    zone_uuid: Annotated[str, Refers("Zone")] | None = None


def wrong(text: bool = False, **values: object) -> dict[str, str]:
    return dict(wrong_fields(Machine, values, text=text))


def test_what_fits_is_not_wrong() -> None:
    assert wrong(name="a", disks=[{"sizeBytes": 1}], limits={"cpu": 2}, root=None) == {}


def test_all_that_is_wrong_is_told_at_once() -> None:
    found = wrong(naem="x", disks=[{"sizeBytes": 1}, {"sizeBytes": 0}, 5], limits={"cpu": "two"}, root={"label": 3})
    assert set(found) == {
        "naem",
        "name",
        "disks[1].sizeBytes",
        "disks[2]",
        "limits.cpu",
        "root.label",
        "root.sizeBytes",
    }
    assert found["naem"] == "unknown; did you mean name?"
    assert found["name"].startswith("missing; ")
    assert found["disks[1].sizeBytes"] == "found 0; a whole number from 1 would fit"


def test_a_name_that_is_like_none_is_told_all_there_are() -> None:
    assert wrong(name="a", xyz=1)["xyz"].startswith("unknown; the fields are name, disks")


def test_a_secret_is_not_repeated() -> None:
    told = wrong(name="a", password="abc")["password"]
    assert "abc" not in told
    assert "3 characters" in told


@pytest.mark.parametrize(("text", "fits"), [(True, True), (False, False)])
def test_numbers_are_texts_in_a_query_string_only(text: bool, fits: bool) -> None:
    assert (list(wrong_value(int, "5", "n", text=text)) == []) is fits


def test_markers_are_found_at_any_depth() -> None:
    hint = list[Annotated[str, Refers("Zone")]] | None
    assert [marker.entity for marker in markers(hint) if isinstance(marker, Refers)] == ["Zone"]
    assert list(markers(int)) == []
