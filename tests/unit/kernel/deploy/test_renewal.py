from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from cairn.kernel.deploy.authority import LEAF_VALIDITY
from cairn.kernel.deploy.renewal import keep_certificate
from cairn.kernel.loop import Loops
from cairn.kernel.metrics import Metrics
from cairn.testing.clock import VirtualClock
from cairn.testing.shared import authority_in


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
