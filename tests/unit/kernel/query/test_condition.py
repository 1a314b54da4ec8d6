from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.kernel.error import CairnError
from cairn.kernel.query.condition import Operator, parse


@pytest.mark.parametrize(
    ("text", "path", "operator", "value"),
    [
        ("name=zone-1", ("name",), Operator.EQUAL, "zone-1"),
        ("state!=Enabled", ("state",), Operator.NOT_EQUAL, "Enabled"),
        ("uuid?=a,b,c", ("uuid",), Operator.IN, "a,b,c"),
        ("uuid!?=a,b", ("uuid",), Operator.NOT_IN, "a,b"),
        ("name~=web%", ("name",), Operator.LIKE, "web%"),
        ("name!~=web%", ("name",), Operator.NOT_LIKE, "web%"),
        ("cpuNum>=4", ("cpuNum",), Operator.AT_LEAST, "4"),
        ("cpuNum<=4", ("cpuNum",), Operator.AT_MOST, "4"),
        ("cpuNum>4", ("cpuNum",), Operator.GREATER, "4"),
        ("cpuNum<4", ("cpuNum",), Operator.LESS, "4"),
        ("hostUuid is null", ("hostUuid",), Operator.IS_NULL, ""),
        ("hostUuid not null", ("hostUuid",), Operator.NOT_NULL, ""),
        ("name=a>=b", ("name=a",), Operator.AT_LEAST, "b"),  # as ZStack misreads it
        ("name=a!=b!=c", ("name=a",), Operator.NOT_EQUAL, "b!=c"),
        (" vmNics . l3Network.name = x ", ("vmNics", "l3Network", "name"), Operator.EQUAL, " x "),
        ("name=", ("name",), Operator.EQUAL, ""),
        ("name=x is null", ("name",), Operator.EQUAL, "x is null"),
        ("=x", ("",), Operator.EQUAL, "x"),
    ],
)
def test_the_first_operator_of_the_list_that_occurs_cuts_the_text(
    text: str, path: tuple[str, ...], operator: Operator, value: str
) -> None:
    found = parse(text)
    assert (found.path, found.operator, found.value) == (path, operator, value)


def test_positions_point_at_each_name() -> None:
    assert parse(" vmNics . l3Network.name=x").positions == (1, 10, 20)


@pytest.mark.parametrize("text", ["", "name", "name IS NULL", "a.b.c"])
def test_text_without_operator_is_refused_with_all_operators(text: str) -> None:
    with pytest.raises(CairnError, match="an operator is missing; there are != >= <=") as caught:
        parse(text)
    assert caught.value.code == "query.no-operator"
    assert caught.value.details["position"] == len(text)


def test_something_behind_a_null_test_is_refused() -> None:
    with pytest.raises(CairnError, match="nothing may follow 'is null'") as caught:
        parse("name is nullable")
    assert caught.value.code == "query.bad-value"


@given(st.text())
def test_any_text_is_a_condition_or_an_error_of_ours(text: str) -> None:
    try:
        found = parse(text)
    except CairnError as error:
        assert error.code in ("query.no-operator", "query.bad-value")
    else:
        assert text.startswith(found.text)
        assert len(found.path) == len(found.positions)
