from __future__ import annotations

from typing import Annotated

import pytest
from msgspec import Meta, Struct

from cairn.gateway.shape import Shape
from cairn.kernel.api import Refers, Secret
from cairn.kernel.error import CairnError


class Order(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    uuid: str
    count: Annotated[int, Meta(ge=1)] = 1
    wet: bool = False
    names: list[str] = []
    limits: dict[str, int] | None = None
    site_uuids: list[Annotated[str, Refers("Site")]] = []
    password: Annotated[str, Secret()] | None = None


SHAPE = Shape(Order, "PlaceOrder", ["uuid"])


def of_query(*query: tuple[str, str]) -> Order:
    return SHAPE.of_query(query, ["u1"])


def refused(*query: tuple[str, str]) -> dict[str, str]:
    with pytest.raises(CairnError) as caught:
        of_query(*query)
    assert caught.value.code == "api.invalid-field"
    return dict(caught.value.fields)


def test_a_query_string_is_read_by_the_types_of_the_fields() -> None:
    order = of_query(("count", "3"), ("wet", "true"), ("limits.cpu", "2"), ("limits.ram", "4"))
    assert (order.uuid, order.count, order.wet, order.limits) == ("u1", 3, True, {"cpu": 2, "ram": 4})


@pytest.mark.parametrize("names", [("names", "names"), ("names.0", "names.1")])
def test_a_list_is_repeated_or_numbered(names: tuple[str, str]) -> None:
    assert of_query((names[0], "a"), (names[1], "b")).names == ["a", "b"]


def test_all_that_is_wrong_with_a_query_is_told_at_once() -> None:
    found = refused(("count", "0"), ("wet", "true"), ("wet", "false"), ("nmaes", "x"), ("count.x", "1"))
    assert set(found) == {"count", "wet", "nmaes", "count.x"}
    assert found["wet"].startswith("given twice; ")
    assert found["nmaes"] == "unknown; did you mean names?"


def test_what_the_path_says_wins() -> None:
    assert SHAPE.make({"uuid": "other"}, ["u1"]).uuid == "u1"


def test_texts_are_trimmed_and_secrets_are_not() -> None:
    order = SHAPE.make({"uuid": " u1 ", "password": " p "})
    assert (order.uuid, order.password) == ("u1", " p ")


def test_a_number_that_the_database_cannot_hold_is_refused() -> None:
    assert SHAPE.make({"uuid": "u", "count": 2**63 - 1}).count == 2**63 - 1
    with pytest.raises(CairnError) as caught:
        SHAPE.make({"uuid": "u", "count": 2**63})
    assert caught.value.fields["count"].endswith("of at most 64 bits")


def test_what_is_known_to_be_wrong_is_told_even_if_the_rest_fits() -> None:
    with pytest.raises(CairnError) as caught:
        SHAPE.make({"uuid": "u"}, wrong={"names": "given twice; no"})
    assert dict(caught.value.fields) == {"names": "given twice; no"}
    assert caught.value.details["api"] == "PlaceOrder"


def test_fields_say_what_they_refer_to_and_whether_they_are_secret() -> None:
    params = SHAPE.params
    assert [(name, param.refers) for name, param in params.items() if param.refers] == [("siteUuids", "Site")]
    assert [name for name, param in params.items() if param.secret] == ["password"]
    assert [name for name, param in params.items() if param.many] == ["names", "siteUuids"]
    assert [name for name, param in params.items() if param.table] == ["limits"]
    assert [name for name, param in params.items() if param.required] == ["uuid"]
    assert (params["count"].default, params["names"].default, params["uuid"].default) == (1, [], None)
