from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.cli.bench.test_creation import TEMPLATE, Node, _served

from cairn.cli.bench.crowd import Crowd, Part, divided, most_at_once, processes_for
from cairn.cli.errors import CliError

WHOLE = Part(urls=["http://x"], session="s", ca_file=None, template=TEMPLATE, count=10, concurrency=7, first=0)


def test_work_is_divided_into_parts_that_follow_each_other() -> None:
    parts = divided(WHOLE, 3)
    assert [(part.count, part.concurrency, part.first) for part in parts] == [(3, 2, 0), (3, 2, 2), (4, 3, 4)]
    assert len({part.template.prefix for part in parts}) == 3


@given(count=st.integers(1, 500), concurrency=st.integers(1, 500), processes=st.integers(1, 20))
def test_parts_are_the_whole_and_none_is_empty(count: int, concurrency: int, processes: int) -> None:
    concurrency = min(count, concurrency)
    parts = divided(replace(WHOLE, count=count, concurrency=concurrency), processes)
    assert sum(part.count for part in parts) == count
    assert sum(part.concurrency for part in parts) == concurrency
    assert len(parts) == min(processes, concurrency)
    assert all(part.count >= part.concurrency >= 1 for part in parts)


def test_in_flight_is_what_has_begun_and_not_ended_in_all_processes_together() -> None:
    assert most_at_once([], []) == 0
    assert most_at_once([1.0, 2.0, 3.0], [2.5, 3.5, 4.0]) == 2
    assert most_at_once([1.0, 2.0], [2.0, 3.0]) == 1


def test_so_many_connections_take_as_many_processes_as_files_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cairn.cli.bench.crowd.open_more", lambda wanted: min(wanted, 20_000))
    assert [processes_for(connections) for connections in (1, 19_900, 19_901, 30_000)] == [1, 1, 2, 2]


async def test_calls_are_made_from_several_processes_to_several_nodes_at_once() -> None:
    node, other = Node(together=3), Node(together=3, fail=3)
    async with _served(node) as first, _served(other) as second:
        crowd = Crowd([first.url, second.url], "session", None, TEMPLATE, 6, 6, 2)
        await crowd.run()

    assert sorted(one.error or "" for one in crowd.ended) == ["", "", "", "", "", "host.none-fits"]
    assert (len(node.jobs), len(other.jobs)) == (3, 3)
    assert 3 <= crowd.largest_in_flight <= 6, "each node answers once three calls have come"
    assert crowd.broken == 0


async def test_process_that_fails_is_told_of() -> None:
    with pytest.raises(CliError) as caught:
        await Crowd(["http://x"], "s", None, TEMPLATE, 2, 2, 2, command=[sys.executable, "-c", "pass"]).run()
    assert caught.value.problem.code == "bench.lost"
