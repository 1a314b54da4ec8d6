from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fakes import FakeNode

from cairn.cli.bench import mixed as module
from cairn.cli.bench.creation import Template
from cairn.cli.bench.load import Call, Ended
from cairn.cli.bench.mixed import WEIGHTS, Day, by_kind
from cairn.cli.errors import Exit

TEMPLATE = Template(image="i", network="n", offering="o", prefix="bench-1")
BEFORE = {
    "stop": "Running",
    "start": "Stopped",
    "reboot": "Running",
    "update": "Running",
    "destroy": "Stopped",
    "expunge": "Destroyed",
}
AFTER = {"create": "Running", "stop": "Stopped", "start": "Running", "destroy": "Destroyed", "expunge": "Gone"}


def end(call: Call, error: str | None = None) -> Ended:
    return Ended(kind=call.kind, subject=call.subject, seconds=0.01, error=error, job=call.job)


@given(seed=st.integers(0, 1000), in_flight=st.integers(1, 20), fail=st.integers(0, 10))
def test_a_call_is_made_for_a_vm_that_is_fit_for_it_and_nothing_else_is_done_to(
    seed: int, in_flight: int, fail: int
) -> None:
    day = Day(TEMPLATE, 200, WEIGHTS, seed)
    states: dict[str, str] = {}
    open_calls: list[Call] = []
    for number, call in enumerate(day.calls()):
        if call.kind in BEFORE:
            assert states[call.subject] == BEFORE[call.kind]
            assert call.subject not in {one.subject for one in open_calls}
        open_calls.append(call)
        if len(open_calls) >= in_flight:
            one = open_calls.pop(0)
            error = "vm.broken" if fail and number % (fail + 3) == 0 else None
            if one.kind != "query" and error is None:
                states[one.subject] = AFTER.get(one.kind, states.get(one.subject, ""))
            elif one.kind != "query":
                states[one.subject] = "Broken"
            day.ended(end(one, error))
    assert {vm for vm, state in states.items() if state not in ("Gone", "Broken")} <= day.vms


def test_kinds_come_as_often_as_their_weights_say() -> None:
    day = Day(TEMPLATE, 2000, WEIGHTS, 1)
    kinds = Counter[str]()
    for call in day.calls():
        kinds[call.kind] += 1
        day.ended(end(call))

    assert set(kinds) == set(WEIGHTS)
    assert 0.3 < kinds["query"] / 2000 < 0.4


def test_the_same_seed_is_the_same_day() -> None:
    days = [[call.kind for call in Day(TEMPLATE, 50, WEIGHTS, seed).calls()] for seed in (3, 3, 4)]

    assert days[0] == days[1] != days[2]


def test_each_kind_is_told_by_itself() -> None:
    calls = [Call(kind=kind, verb="GET", target="/") for kind in ("stop", "query", "query")]

    found = by_kind([end(calls[0], "vm.wrong-state"), *map(end, calls[1:])])

    assert [(one.kind, one.calls, one.failed, one.p50_ms) for one in found] == [
        ("query", 2, 0, 10.0),
        ("stop", 1, 1, None),
    ]


def test_the_command_makes_the_calls(cli: Cli, node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "template_of", lambda *given: TEMPLATE)

    ran = cli("bench", "mixed", "--count", "20", "--concurrency", "3", "--weight", "create=50", "--keep", "--json")

    assert ran.code == Exit.OK, ran.err
    told = json.loads(ran.out)
    assert (told["calls"], told["failed"], told["left"]) == (20, 0, 0)
    assert 1 <= told["largest_in_flight"] <= 3


@pytest.mark.parametrize("word", ["create", "create=-1", "create=x", "dance=1", "create=1000001"])
def test_a_wrong_weight_is_refused(cli: Cli, word: str) -> None:
    ran = cli("bench", "mixed", "--weight", word, "--json")

    assert ran.code == Exit.USAGE
    assert json.loads(ran.err)["error"]["code"] == "bench.bad-weight"


def test_weights_that_leave_nothing_are_refused(cli: Cli) -> None:
    words = [word for kind in WEIGHTS for word in ("--weight", f"{kind}=0")]

    assert cli("bench", "mixed", *words).code == Exit.USAGE
