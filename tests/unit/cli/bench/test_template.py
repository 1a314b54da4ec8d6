from __future__ import annotations

import json

from tests.unit.cli.conftest import Cli
from tests.unit.cli.fakes import FakeNode

from cairn.cli.errors import Exit


def test_without_a_cloud_it_says_how_to_make_one(cli: Cli, node: FakeNode) -> None:
    node.rows["/v1/zones"] = []

    ran = cli("bench", "restart", "--count", "1", "--json")

    assert ran.code == Exit.REFUSED
    assert json.loads(ran.err)["error"]["code"] == "bench.no-cloud"
