from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from cairn.kernel.deploy.authority import LEAF_VALIDITY, NEWS_SECONDS, Authority
from cairn.kernel.deploy.renewal import ALONE_SECONDS, keep_certificate, keep_up
from cairn.kernel.deploy.roots import Phase
from cairn.kernel.ids import NodeId
from cairn.kernel.loop import Loops
from cairn.kernel.metrics import Metrics
from cairn.kernel.ring import Ring
from cairn.testing.clock import VirtualClock
from cairn.testing.shared import authority_in, shared_store


async def test_a_nodes_certificate_is_renewed_while_it_runs_whatever_went_wrong_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, metrics = VirtualClock(), Metrics()
    authority, loops = await authority_in(tmp_path, clock=clock), Loops(clock, metrics)
    authority.issue_node()
    first = authority.ends()["node",]
    keep_certificate(authority, loops)
    loops.start()

    def full(addresses: tuple[str, ...] = ()) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as trouble:
        trouble.setattr(authority, "issue_node", full)
        await clock.advance(timedelta(days=1).total_seconds())
    await clock.advance((LEAF_VALIDITY * 3 / 4).total_seconds())
    await loops.stop()

    assert authority.ends()["node",] > first
    assert metrics.loop_failures.value("node certificate") > 0


async def test_a_node_looks_for_news_each_second_once_it_is_not_alone(tmp_path: Path) -> None:
    clock = VirtualClock()
    store = await shared_store(tmp_path, clock)
    one, two = [await Authority.open(store, tmp_path / name, node=name, clock=clock) for name in ("a", "b")]
    ring, loops = Ring(), Loops(clock, Metrics())
    ring.set_members([NodeId("b")], 1)
    keep_up(two, loops, ring, NodeId("b"))
    loops.start()

    seen = []
    await one.announce_root()
    for seconds in (NEWS_SECONDS * 2, ALONE_SECONDS):
        await clock.advance(seconds)
        seen.append(two.phase)
    await one.use_next_root()
    ring.set_members([NodeId("a"), NodeId("b")], 2)
    await clock.advance(0.01)
    seen.append(two.phase)
    await one.withdraw_root()
    await clock.advance(NEWS_SECONDS)
    seen.append(two.phase)
    await loops.stop()

    assert seen == [Phase.SETTLED, Phase.ANNOUNCED, Phase.RENEWING, Phase.SETTLED]
