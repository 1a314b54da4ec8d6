from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.kernel.sample import Storage, VmInstance, Zone

from cairn.kernel.error import CairnError
from cairn.kernel.query.condition import Operator, parse
from cairn.kernel.query.value import values_of
from cairn.kernel.store.record import Field, info
from cairn.kernel.tag import SystemTag

FIELDS: dict[str, Field] = {
    field.wire: field for record in (Zone, Storage, VmInstance) for field in info(record).fields
}


TAG = info(SystemTag).by_name["tag"]


@pytest.mark.parametrize(
    "condition",
    ["tag=pin::4711", "tag!=Pin::4711", "tag?=a,pin::4711", "tag~=pin::47%", "tag!~=pin::%47%", "tag>pin::4711"],
)
def test_a_search_for_a_sealed_value_is_refused_without_repeating_it(condition: str) -> None:
    with pytest.raises(CairnError) as caught:
        values_of(parse(condition), TAG, ["pin::"])
    assert caught.value.code == "query.sealed-value"
    assert "tag~=pin::%" in caught.value.message
    assert "47" not in f"{caught.value.message}{caught.value.fields}{caught.value.details}"


@pytest.mark.parametrize(
    "condition", ["tag~=pin::%", "tag=pin::", "tag~=%47%", "tag=spin::4711", "tag~=pi%", "tag=pin"]
)
def test_a_search_by_kind_is_not_refused(condition: str) -> None:
    assert len(values_of(parse(condition), TAG, ["pin::"])) == 1


def values(text: str) -> list[object]:
    condition = parse(text)
    return list(values_of(condition, FIELDS[condition.path[0]]))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("name= x ", [" x "]),
        ("name?=a,,B", ["a", "", "B"]),
        ("cpuNum?= 1,2.0,-3", [1, 2, -3]),
        ("load>1e3", [1000.0]),
        ("open=TRUE", [1]),
        ("open?=true,false", [1, 0]),
        ("state=enabled", ["Enabled"]),
        ("createDate=1970-01-01T00:00:01", [1_000_000]),
        ("createDate=1970-01-01 08:00:01+08:00", [1_000_000]),
        ("createDate=1970-01-02", [86_400_000_000]),
        ("name is null", []),
        (r"name~=a%_\%\_\\|\x", [r"a%_|%|_\||x"]),
        ("name~=\\", ["\\"]),
        ("limits~=%rack%", ["%rack%"]),
    ],
)
def test_values_are_read_in_the_fields_own_type(text: str, found: list[object]) -> None:
    assert values(text) == found


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cpuNum=two", "position 7: found 'two'; cpuNum is int; a whole number"),
        ("cpuNum=1.5", "a whole number"),
        ("cpuNum=9223372036854775808", "a whole number of at most 64 bits"),
        ("cpuNum=1e400", "a whole number"),
        ("cpuNum?=1,,2", "found ''"),
        ("load=nan", "a number would fit"),
        ("open=yes", "true or false would fit"),
        ("createDate>yesterday", "a time such as 2026-11-22T13:05:09Z"),
        ("state=Running", "state is one of Enabled, Disabled"),
    ],
)
def test_a_value_of_another_type_is_refused_with_what_would_fit(text: str, sentence: str) -> None:
    with pytest.raises(CairnError, match=sentence) as caught:
        values(text)
    assert caught.value.code == "query.bad-value"


@pytest.mark.parametrize("text", ["cpuNum~=1%", "open>true", "photo=x", "limits=x", "createDate~=2026%"])
def test_an_operator_that_the_field_does_not_have_is_refused_with_those_it_has(text: str) -> None:
    with pytest.raises(CairnError, match="is null not null would fit") as caught:
        values(text)
    assert caught.value.code == "query.bad-operator"


@given(st.sampled_from(sorted(FIELDS)), st.sampled_from(list(Operator)), st.text())
def test_any_value_is_read_or_refused_with_an_error_of_ours(field: str, operator: Operator, value: str) -> None:
    condition = parse("x=")
    condition = type(condition)(text="x=", path=("x",), positions=(0,), operator=operator, value=value)
    try:
        found = values_of(condition, FIELDS[field])
    except CairnError as error:
        assert error.code in ("query.bad-value", "query.bad-operator")
    else:
        assert all(isinstance(one, str | int | float) for one in found)
