from __future__ import annotations

from typing import cast

import pytest

from cairn.kernel.error import CairnError
from cairn.kernel.ids import NodeId
from cairn.kernel.store.tx import Tx
from cairn.testing.clock import VirtualClock
from cairn.testing.owner import SoleOwner, sole_bus

TX = cast("Tx", None)


def test_it_owns_every_key_and_may_begin_unless_told_otherwise() -> None:
    def refuse() -> None:
        raise CairnError("node.fenced", "no")

    owner = SoleOwner(NodeId("x"))
    assert owner.owner_of("key") == NodeId("x")
    assert owner.begin(TX, "key") == 1
    assert owner.alive == {NodeId("x")}
    with pytest.raises(CairnError, match=r"node\.fenced"):
        SoleOwner(check=refuse).begin(TX, None)


async def test_its_bus_sends_nothing_away() -> None:
    assert all(sole_bus(VirtualClock()).owns(str(number)) for number in range(20))
