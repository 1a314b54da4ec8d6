from __future__ import annotations

from pathlib import Path

import pytest

from cairn.kernel.deploy.authority import LEAF_VALIDITY, Authority
from cairn.kernel.deploy.renewal import NodeCertificate
from cairn.testing.clock import VirtualClock


async def test_a_nodes_certificate_is_renewed_while_it_runs_whatever_went_wrong_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = VirtualClock()
    authority = Authority.open(tmp_path, clock=clock)
    authority.issue_node()
    first = authority.ends()["node",]
    renewal = NodeCertificate(authority, clock)
    await renewal.start()

    def full(addresses: tuple[str, ...] = ()) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as trouble:
        trouble.setattr(authority, "issue_node", full)
        await clock.advance(86400)
    await clock.advance((LEAF_VALIDITY * 3 / 4).total_seconds())
    await renewal.stop()
    await renewal.stop()

    assert authority.ends()["node",] > first
    assert clock.pending() == 0
