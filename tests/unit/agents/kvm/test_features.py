from __future__ import annotations

from pathlib import Path

from tests.unit.agents.fakes import FakeRunner

from cairn.agents.kvm.features import Features
from cairn.agents.programs import Completed


async def test_each_feature_is_tried_once_in_a_name_space_that_goes_away(tmp_path: Path) -> None:
    runner = FakeRunner({"unshare --net sh -c ip link add v0 type vxlan": Completed(2)})
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "vhost-net").touch()
    features = Features(runner, tmp_path)
    found = await features.probe()
    assert await features.probe() == found
    assert (found["vxlan"], found["vlan"], found["vhost_net"], found["bridge_netfilter"]) == (False, True, True, False)
    assert all(line.startswith("unshare --net ") for line in runner.ran)
    assert len(runner.ran) == len(set(runner.ran))
