"""One broker for all tests that do not end it, and nodes that are stopped after each test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.broker.cloud import BusNode
from tests.broker.server import RabbitServer, installed

from cairn.kernel.bus.broker import Broker, parse_broker
from cairn.kernel.ids import NodeId
from cairn.testing.shared import authority_in

NODES = [NodeId(letter * 32) for letter in "abc"]


class Nodes:
    """Makes nodes, and ends them."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.made: list[BusNode] = []

    async def start(
        self, node: NodeId, members: list[NodeId] = NODES, *, broker: Broker | None = None, joined: int = 1
    ) -> BusNode:
        """A node that has tried to reach the broker."""
        made = BusNode(broker or self.broker, node, members, joined=joined)
        self.made.append(made)
        await made.bus.start()
        return made


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of the broker, and of the authority that it has them from."""
    folder = tmp_path_factory.mktemp("certificates")
    asyncio.run(authority_in(folder)).issue_node(["127.0.0.1"])
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[RabbitServer]:
    """A broker that runs for all tests: whoever ends it starts it again."""
    if not installed():
        pytest.skip("rabbitmq-server is not installed: make packages")
    made = RabbitServer(tmp_path_factory.mktemp("rabbit") / "server", certificates)
    made.start()
    yield made
    made.kill()


@pytest.fixture
async def nodes(server: RabbitServer) -> AsyncIterator[Nodes]:
    """Nodes on that broker."""
    made = Nodes(parse_broker(server.url))
    yield made
    for node in made.made:
        await node.bus.stop()
