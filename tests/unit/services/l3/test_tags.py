from __future__ import annotations

import pytest
from tests.unit.services.network_rig import Rig, uuid

from cairn.kernel.error import CairnError
from cairn.services.l3.tags import static_ips

L3 = uuid(1, 9)


async def test_a_static_ip_is_understood_on_a_vm(rig: Rig) -> None:
    rig.context.tags.check("VmInstance", [f"staticIp::{L3}::10.0.0.5"])
    assert static_ips(["hostname::web", f"staticIp::{L3}::10.0.0.5"]) == {L3: "10.0.0.5"}


@pytest.mark.parametrize("tag", ["staticIp::lan::10.0.0.5", f"staticIp::{L3}::10.0.0.555"])
async def test_a_static_ip_that_cannot_be_is_refused(rig: Rig, tag: str) -> None:
    with pytest.raises(CairnError) as caught:
        rig.context.tags.check("VmInstance", [tag])
    assert caught.value.code == "tag.bad-value"
