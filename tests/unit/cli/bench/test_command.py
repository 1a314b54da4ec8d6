from __future__ import annotations

import json

from tests.unit.cli.conftest import Cli
from tests.unit.cli.fakes import FakeNode

from cairn.cli.bench.command import summary
from cairn.cli.bench.creation import Ended
from cairn.cli.errors import Exit


def test_percentiles_are_values_that_were_seen() -> None:
    ended = [Ended("v", n / 1000, None) for n in range(1, 101)] + [Ended("v", 99.0, "x.y")]
    assert summary(ended) == (50.0, 99.0, 100.0)
    assert summary(ended[:1]) == (1.0, 1.0, 1.0)
    assert summary(ended[100:]) == (None, None, None)


def test_without_a_cloud_it_says_how_to_make_one(cli: Cli, node: FakeNode) -> None:
    node.rows["/v1/zones"] = []
    ran = cli("bench", "vm", "--count", "1", "--json")
    assert ran.code == Exit.REFUSED
    assert json.loads(ran.err)["error"]["code"] == "bench.no-cloud"
