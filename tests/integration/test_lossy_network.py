"""Three nodes whose network loses, repeats and delays what they say to each other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
from tests.integration.test_nodes import NODES, Nodes, three_nodes


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    async with three_nodes(tmp_path) as made:
        random = Random(1)
        made.network.drop = lambda source, target, envelope: random.random() < 0.3
        made.network.copies = 2
        made.network.delay_seconds = 0.2
        yield made


async def test_calls_to_other_nodes_are_done_once_each(nodes: Nodes) -> None:
    names = [f"vm-{number}" for number in range(9)]
    made = [await nodes.create_vm(NODES[number % 3], name) for number, name in enumerate(names)]
    assert all(nodes.handled(node, "vm.create") for node in NODES)
    for node in NODES:
        _, answer = await nodes.request(node, "GET", "/vm-instances")
        found = answer["inventories"]
        assert isinstance(found, list)
        assert sorted(str(row["uuid"]) for row in found) == sorted(str(vm["uuid"]) for vm in made)
    assert await nodes.broken_rules() == []
