"""What the generated workflow tests look at: everything there is, in the database and on the simulated hosts."""

from __future__ import annotations

import msgspec
from tests.flows.rules import Hosts, SeenHost, broken

from cairn.simulator.control import inspect_host
from cairn.testing.cloud import Cloud
from cairn.testing.snapshot import HISTORY, VOLATILE, Snapshot, all_rows, database, differences, snapshot

__all__ = [
    "HISTORY",
    "VOLATILE",
    "Snapshot",
    "all_rows",
    "broken_rules",
    "database",
    "differences",
    "hosts",
    "snapshot",
]


def hosts(cloud: Cloud) -> Hosts:
    """What is on each simulated host."""
    seen = {name: inspect_host(host) for name, host in cloud.world.hosts.items()}
    return msgspec.json.decode(msgspec.json.encode(seen), type=dict[str, SeenHost])


def broken_rules(cloud: Cloud) -> list[str]:
    """What is wrong between the database and the hosts; nothing, in a cloud at rest."""
    return broken(database(cloud), hosts(cloud))
