from __future__ import annotations

from typing import cast

import pytest
from msgspec import Struct

from cairn.cli.bench.around import Local
from cairn.cli.bench.failover import victim_of
from cairn.cli.bench.measuring import Measuring
from cairn.cli.errors import CliError


class Seen(Struct):
    """What is seen of a cloud's nodes."""

    nodes: list[Local]
    entry: set[int] = set()


def victim(seen: Seen, pid: int | None = None) -> Local:
    return victim_of(cast("Measuring", seen), pid)


TWO = [Local("node", 10), Local("node-2", 11)]


def test_the_node_that_calls_go_to_is_spared() -> None:
    assert victim(Seen(TWO, {11})) == TWO[0]
    assert victim(Seen(TWO, {10})) == TWO[1]


def test_behind_one_address_any_may_be_killed() -> None:
    assert victim(Seen(TWO, {10, 11})) == TWO[1]
    assert victim(Seen(TWO, {10, 11}), 10) == TWO[0]


@pytest.mark.parametrize(("nodes", "pid"), [([], None), (TWO[:1], None), (TWO, 12)])
def test_without_a_node_to_spare_nothing_is_killed(nodes: list[Local], pid: int | None) -> None:
    with pytest.raises(CliError) as caught:
        victim(Seen(nodes), pid)
    assert caught.value.problem.code == "bench.no-node"
