"""Every workflow of L2 networks with each step done twice, and failing at each step."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from tests.unit.services.network_rig import CLUSTER, OTHER_CLUSTER, Rig

from cairn.kernel.error import CairnError
from cairn.kernel.flow.engine import FlowProbe
from cairn.kernel.flow.journal import FlowRun
from cairn.kernel.flow.step import AnyStep
from cairn.services.l2.messages import AttachL2NetworkToCluster, DeleteL2Network, DetachL2NetworkFromCluster

Work = Callable[[Rig, str], Awaitable[object]]


class Breaks(FlowProbe):
    """Does action steps twice, and fails behind a step."""

    def __init__(self) -> None:
        self.behind: str | None = None

    def times(self, step: AnyStep) -> int:
        return 2

    def done(self, workflow: str, step: AnyStep) -> None:
        if step.name == self.behind:
            raise CairnError("test.broken", f"broken behind {step.name}")


async def attach(rig: Rig, l2: str) -> None:
    await rig.context.bus.call(AttachL2NetworkToCluster(l2_network_uuid=l2, cluster_uuid=OTHER_CLUSTER))


async def detach(rig: Rig, l2: str) -> None:
    await rig.context.bus.call(DetachL2NetworkFromCluster(l2_network_uuid=l2, cluster_uuid=CLUSTER))


async def delete(rig: Rig, l2: str) -> None:
    await rig.context.bus.call(DeleteL2Network(uuid=l2))


STEPS: dict[str, tuple[Work, list[str]]] = {
    "attach": (attach, ["l2.record-attachment", "l2.realize-in-cluster"]),
    "detach": (detach, ["l2.erase-attachment", "l2.check-unused", "l2.remove-bridges"]),
    "delete": (delete, ["cascade.delete-children", "l2.erase-attachments", "l2.remove-bridges", "resource.erase"]),
}
FAILURES = [(name, step) for name, (_, steps) in STEPS.items() for step in steps]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    rig.probe = Breaks()
    await rig.start()
    rig.host(1)
    rig.host(2, OTHER_CLUSTER)
    yield rig
    await rig.stop()


async def made(rig: Rig, kind: str) -> str:
    l2 = await (rig.l2() if kind == "wire" else rig.vxlan())
    await rig.attach(l2)
    await rig.settle()
    return l2


@pytest.mark.parametrize("kind", ["wire", "tunnel"])
@pytest.mark.parametrize("workflow", list(STEPS))
async def test_each_step_may_be_done_twice(rig: Rig, workflow: str, kind: str) -> None:
    l2 = await made(rig, kind)
    await STEPS[workflow][0](rig, l2)
    await rig.settle()
    assert await rig.context.store.read(lambda tx: tx.count(FlowRun)) == 0
    clusters = {"attach": [CLUSTER, OTHER_CLUSTER], "detach": [], "delete": None}[workflow]
    shown = await rig.context.query.get("L2Network", l2)
    assert (shown and shown["attachedClusterUuids"]) == clusters


@pytest.mark.parametrize("kind", ["wire", "tunnel"])
@pytest.mark.parametrize(("workflow", "step"), FAILURES)
async def test_a_failure_behind_each_step_leaves_things_as_they_were(
    rig: Rig, workflow: str, step: str, kind: str
) -> None:
    l2 = await made(rig, kind)
    assert isinstance(rig.probe, Breaks)
    rig.probe.behind = step

    with pytest.raises(CairnError, match=f"broken behind {step}") as caught:
        await STEPS[workflow][0](rig, l2)

    await rig.settle()
    assert "undoPending" not in caught.value.details
    assert await rig.context.store.read(lambda tx: tx.count(FlowRun)) == 0
    assert (await rig.shown("L2Network", l2))["attachedClusterUuids"] == [CLUSTER]
    rig.probe.behind = None
    await STEPS[workflow][0](rig, l2)
