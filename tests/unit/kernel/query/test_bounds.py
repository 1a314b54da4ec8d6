from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.query import QueryEngine, QueryRequest, Scope
from cairn.kernel.query.bounds import (
    MAX_CONDITIONS,
    MAX_JOINS,
    MAX_NAME,
    MAX_NAMES,
    MAX_PATTERN,
    MAX_TEXT,
    MAX_VALUES,
    check_size,
    too_slow,
)


async def refusal(engine: QueryEngine, *conditions: str, **more: object) -> CairnError:
    with pytest.raises(CairnError) as caught:
        await engine.run(QueryRequest(entity="VmInstance", conditions=conditions, **more))  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize(
    ("conditions", "what"),
    [
        (["name=x"] * (MAX_CONDITIONS + 1), "conditions"),
        (["name=" + "x" * MAX_TEXT], "characters of conditions"),
        (["host.vmInstances." * MAX_JOINS + "name=x"], "joins in one condition"),
        (["host.vmInstances.host.vmInstances.name=x"] * 9, "joins in all conditions"),
        (["uuid?=" + "," * (MAX_VALUES // 2)] * 2, "values in lists"),
        (["name~=" + "x" * (MAX_PATTERN + 1)], "characters of a pattern"),
    ],
)
async def test_what_would_cost_too_much_is_refused_before_it_runs(
    engine: QueryEngine, conditions: list[str], what: str
) -> None:
    error = await refusal(engine, *conditions)
    assert (error.code, error.kind) == ("query.too-complex", ErrorKind.INVALID)
    assert what in error.message
    assert len(str(error)) < 500
    assert error.details["found"] > error.details["most"]  # type: ignore[operator]


async def test_as_much_as_is_allowed_is_answered(engine: QueryEngine) -> None:
    for conditions in (
        ["name!=x"] * MAX_CONDITIONS,
        ["host.vmInstances." * (MAX_JOINS // 2) + "name!=x"] * 4,
        ["uuid!?=" + ",".join(f"{n:032x}" for n in range(MAX_VALUES))],
        ["name!~=" + "%" * MAX_PATTERN],
    ):
        assert (
            await engine.run(QueryRequest(entity="VmInstance", conditions=conditions, count=True))
        ).total is not None


def test_names_are_bounded() -> None:
    check_size([], ["x" * MAX_NAME] * MAX_NAMES)
    for names in (["x"] * (MAX_NAMES + 1), ["x" * (MAX_NAME + 1)]):
        with pytest.raises(CairnError) as caught:
            check_size([], names)
        assert (caught.value.code, list(caught.value.fields)) == ("query.too-complex", ["fields"])


async def test_an_error_repeats_only_the_beginning_of_what_was_sent(engine: QueryEngine) -> None:
    for condition in ("x" * 100_000, "x" * 100_000 + "=1", "name." * 1000 + "x=1", "cpuNum=" + "9" * 100_000):
        error = await refusal(engine, condition)
        assert error.kind is ErrorKind.INVALID
        assert len(str(error.record())) < 4_000


def test_a_query_that_took_too_long_says_what_to_do() -> None:
    error = too_slow(2.5)
    assert (error.code, error.kind) == ("query.too-slow", ErrorKind.TIMEOUT)
    assert "after 2.5 s" in error.message


WORDS = "host vmInstances name zone vmNics ip __userTag__ . .. = != ?= ~= !~= > <= % \\ | , é -1 nan 1e400 2026-01-01 ' \" ;"
PIECES = st.sampled_from([*WORDS.split(" "), "is null", "not null", "\0", " ", "9" * 30])


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    conditions=st.lists(st.one_of(st.lists(PIECES, max_size=40).map("".join), st.text(max_size=60)), max_size=4),
    sort=st.one_of(st.none(), st.text(max_size=20), st.sampled_from(["+name", "-createDate", "--", "state"])),
    fields=st.lists(st.one_of(st.text(max_size=20), st.sampled_from(["name", "vmNics"])), max_size=3),
    limit=st.integers(),
    start=st.integers(),
    owner=st.sampled_from([None, "ann"]),
)
async def test_any_text_at_all_ends_in_an_answer_or_in_a_refusal(
    engine: QueryEngine,
    conditions: list[str],
    sort: str | None,
    fields: list[str],
    limit: int,
    start: int,
    owner: str | None,
) -> None:
    request = QueryRequest(
        entity="VmInstance", conditions=conditions, sort=sort, fields=fields, limit=limit, start=start
    )
    try:
        answer = await engine.run(request, Scope(owner))
    except CairnError as error:
        assert error.kind is ErrorKind.INVALID
        assert error.code.startswith("query.")
    else:
        assert answer.inventories is not None
