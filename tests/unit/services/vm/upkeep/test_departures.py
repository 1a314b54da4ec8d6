from __future__ import annotations

from functools import partial

import pytest

from cairn.kernel.error import CairnError
from cairn.services.host.model import HostClaim, HostDebt
from cairn.services.host.provided import HostDebts
from cairn.services.ids import HostId
from cairn.services.vm.messages import LeaveHost, VmPlaceSeen
from cairn.services.vm.model import VmInstance, VmState
from cairn.simulator.dials import Dial
from cairn.testing.cloud import Cloud
from cairn.testing.mortal import ORIGIN

HOST = "sim-0001"


def row(cloud: Cloud) -> VmInstance:
    found = cloud.read_now(lambda tx: tx.get(VmInstance, cloud.site["vm"]))
    assert found is not None
    return found


async def leave(cloud: Cloud) -> None:
    message = LeaveHost(vm=cloud.site["vm"], host=cloud.site["host-1"])
    await cloud.clock.run(cloud.node.context.bus.call(message))


async def test_a_vm_leaves_a_host_that_answers_by_being_stopped(cloud: Cloud) -> None:
    for _ in range(2):
        await leave(cloud)
    assert (row(cloud).state, row(cloud).host_uuid, cloud.world.hosts[HOST].vms) == (VmState.STOPPED, None, {})
    assert cloud.read_now(lambda tx: (tx.count(HostClaim), tx.count(HostDebt))) == (0, 0)


async def test_a_vm_on_a_lost_host_counts_as_stopped_and_is_owed(cloud: Cloud) -> None:
    cloud.transport.dead.add(f"{ORIGIN}/hosts/{HOST}")
    await cloud.quiet(200)
    assert row(cloud).state is VmState.UNKNOWN
    await leave(cloud)
    assert (row(cloud).state, row(cloud).host_uuid) == (VmState.STOPPED, None)
    assert row(cloud).state_reason == "its host was removed by force"
    (debt,) = cloud.read_now(lambda tx: tx.find(HostDebt))
    assert (debt.kind, debt.what, cloud.read_now(lambda tx: tx.count(HostClaim))) == ("vm", cloud.site["vm"], 0)


async def test_a_vm_that_does_not_stop_for_another_reason_stays(cloud: Cloud) -> None:
    cloud.agents.dials.turn(Dial(host=HOST, command="vm.stop", error_next=1))
    with pytest.raises(CairnError):
        await leave(cloud)
    assert row(cloud).state is VmState.RUNNING


async def test_a_debt_of_a_vm_that_has_its_place_there_again_is_not_carried_out(cloud: Cloud) -> None:
    host, lost = HostId(cloud.site["host-1"]), CairnError("agent.unreachable", "It does not answer.")
    debts = cloud.node.context.need(HostDebts)
    await cloud.node.context.store.write(lambda tx: debts.owe(tx, host, "vm", cloud.site["vm"], lost))
    await cloud.call("ReconnectHost", uuid=host)
    assert cloud.read_now(lambda tx: tx.count(HostDebt)) == 0
    assert cloud.site["vm"] in cloud.world.hosts[HOST].vms


async def test_a_place_that_is_seen_is_looked_at_and_nothing_is_done_for_a_vm_that_is_gone(cloud: Cloud) -> None:
    host, context = HostId(cloud.site["host-1"]), cloud.node.context
    (server,) = cloud.world.hosts[HOST].dhcp.values()
    server.entries.clear()
    for vm in (cloud.site["vm"], "f" * 32):
        event = VmPlaceSeen(vm=vm, host=host)
        await context.store.write(partial(context.events.emit, event=event, resource=vm))
    await cloud.quiet(10)
    assert {entry.vm for entry in cloud.world.hosts[HOST].dhcp[cloud.site["l3"]].entries.values()} == {cloud.site["vm"]}
