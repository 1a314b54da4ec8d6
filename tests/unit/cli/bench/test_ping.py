from __future__ import annotations

import json
from math import inf
from typing import cast

from msgspec import Struct
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fakes import FakeNode

from cairn.cli.bench.gauge import Process
from cairn.cli.bench.measuring import Cloud, Measuring
from cairn.cli.bench.ping import Counted, Pinged, counted, look
from cairn.cli.client import Client
from cairn.cli.errors import Exit

CLOUD = Cloud(store="sqlite", durable=True, bus="memory", nodes=2, hosts=600, vms=0)


def metrics(ok: int, failed: int = 0, slow: int = 0) -> str:
    return f"""# HELP cairn_pings_total Pings.
cairn_pings_total{{kind="host",outcome="ok"}} {ok}.0
cairn_pings_total{{kind="host",outcome="failed"}} {failed}.0
cairn_pings_total{{kind="backup-storage",outcome="ok"}} 77.0
cairn_ping_wait_seconds_bucket{{kind="host",le="0.001"}} {ok - slow}.0
cairn_ping_wait_seconds_bucket{{kind="host",le="+Inf"}} {ok}.0
"""


class Played(Struct):
    """A cloud whose nodes have counted so much, and more a while later."""

    client: Client
    said: list[str]
    began: int = 0

    def cloud(self) -> Cloud:
        return CLOUD

    def begin(self) -> None:
        self.began += 1

    def metrics(self) -> str:
        return self.said.pop(0)

    def processes(self) -> list[Process]:
        return [Process(name=name, cpu_seconds=6.0, peak_memory_bytes=1) for name in ("node", "node-2", "simulator")]


def ran(client: Client, node: FakeNode, *said: str) -> Pinged:
    node.rows["/v1/global-configurations"] = [{"uuid": "1", "value": "60"}]
    played, times = Played(client, list(said)), iter([100.0, 220.0])
    slept: list[float] = []
    result = look(cast("Measuring", played), 120.0, slept.append, lambda: next(times))
    assert (slept, played.began) == ([120.0], 1)
    return result


def test_what_all_nodes_counted_is_set_against_what_was_due(client: Client, node: FakeNode) -> None:
    found = ran(client, node, metrics(1000), metrics(2200, failed=2, slow=3))

    assert (found.pings, found.failed, found.expected, found.kept_up) == (1202, 2, 1200, True)
    assert found.node_cores == [0.05, 0.05]
    assert found.node_cpu_per_ping_us == round(12.0 / 1202 * 1e6, 1)
    assert found.waited_p99_seconds == 0.001


def test_nodes_that_do_not_keep_up_are_told(client: Client, node: FakeNode) -> None:
    found = ran(client, node, metrics(1000), metrics(1900, slow=500))

    assert not found.kept_up
    assert found.waited_p99_seconds == inf


def test_the_counts_of_several_nodes_are_summed_up() -> None:
    assert counted(metrics(5, 1) + metrics(7)) == Counted(12, 1, {0.001: 12, inf: 12})
    assert counted("") == Counted(0, 0, {})


def test_the_command_looks_at_a_cloud(cli: Cli, node: FakeNode) -> None:
    node.rows["/v1/global-configurations"] = [{"uuid": "1", "value": "60"}]
    node.rows["/v1/hosts"] = []
    node.metrics = metrics(5)

    done = cli("bench", "ping", "--seconds", "1", "--json")

    assert done.code == Exit.OK, done.err
    told = json.loads(done.out)
    assert (told["pings"], told["expected"], told["interval_seconds"]) == (0, 0, 60)
    assert set(told) == set(Pinged.__struct_fields__)
