from __future__ import annotations

from contextlib import nullcontext
from typing import cast

import pytest
from tests.unit.services.vm.paper_agents import PaperAgents

from cairn.agents.protocol import vm as agent
from cairn.kernel.cascade import Cascade
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.resource import Resource
from cairn.kernel.store.record import Record
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import SystemTag, UserTag
from cairn.services.host.model import HostDebt
from cairn.services.host.provided import HostDebts
from cairn.services.ids import HostId
from cairn.services.vm.model import VmInstance, VmNic, VmState
from cairn.services.vm.steps.life import Former
from cairn.services.vm.steps.remove import DestroyOnHost, DestroyOnHostInput, EraseVm, RemoveInput, RemoveNics
from cairn.services.volume.model import Volume
from cairn.testing.cloud import Cloud, Refused


def step_of(cloud: Cloud, name: str) -> RemoveNics | EraseVm:
    return cast("RemoveNics | EraseVm", cloud.node.context.flows.book.step(name))


async def do_twice(cloud: Cloud, name: str, vm: str) -> None:
    for _ in range(2):
        await cloud.node.context.store.write(lambda tx: step_of(cloud, name).do(tx, RemoveInput(uuid=vm)))


def destroy(cloud: Cloud, agents: PaperAgents) -> DestroyOnHost:
    return DestroyOnHost(cloud.node.context.store, agents, cloud.node.context.need(HostDebts))


async def test_a_vm_is_taken_off_the_host_that_it_is_or_was_on(cloud: Cloud) -> None:
    agents = PaperAgents()
    former = Former(state=VmState.STOPPED, last_host_uuid=HostId("host"))

    await destroy(cloud, agents).do(DestroyOnHostInput(uuid="vm", former=former))

    assert agents.asked == ["vm.destroy on host"]
    assert agents.commands == [(agent.DestroyVm(vm="vm"), None)]


@pytest.mark.parametrize(("host", "code"), [(HostId("host"), "agent.hypervisor"), (None, "vm.no-host")])
async def test_a_host_that_refuses_is_told_even_by_force(cloud: Cloud, host: HostId | None, code: str) -> None:
    former = Former(state=VmState.RUNNING, last_host_uuid=host)
    given = DestroyOnHostInput(uuid="vm", former=former, enforced=True)
    with pytest.raises(CairnError) as caught:
        await destroy(cloud, PaperAgents("agent.hypervisor")).do(given)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("state", "enforced", "owed"),
    [
        (VmState.UNKNOWN, True, True),
        (VmState.UNKNOWN, False, False),
        (VmState.STOPPED, False, True),
    ],
)
async def test_a_host_out_of_reach_owes_what_is_removed_by_force_or_off(
    cloud: Cloud, state: VmState, enforced: bool, owed: bool
) -> None:
    former = Former(state=state, last_host_uuid=HostId(cloud.site["host-1"]))
    given = DestroyOnHostInput(uuid=cloud.site["vm"], former=former, enforced=enforced)
    step = destroy(
        cloud, PaperAgents(CairnError("agent.unreachable", "It does not answer.", kind=ErrorKind.UNAVAILABLE))
    )
    with nullcontext() if owed else pytest.raises(CairnError):
        await step.do(given)
    debts = cloud.read_now(lambda tx: [(row.kind, row.what) for row in tx.find(HostDebt)])
    assert debts == ([("vm", cloud.site["vm"])] if owed else [])


async def test_only_the_vms_own_cards_go(cloud: Cloud) -> None:
    other = str((await cloud.create_vm("other"))["uuid"])

    await do_twice(cloud, "vm.remove-nics", cloud.site["vm"])

    assert [nic.vm_instance_uuid for nic in cloud.read_now(lambda tx: tx.find(VmNic))] == [other]


async def test_a_vm_goes_with_its_tags_and_leaves_others(cloud: Cloud) -> None:
    tags = {"user_tags": ["red"], "system_tags": ["hostname::front"]}
    gone, stays = [str((await cloud.create_vm(name, **tags))["uuid"]) for name in ("a", "b")]

    def bare(tx: Tx) -> None:
        for part in (VmNic, Volume):
            tx.delete_where(part, vm_instance_uuid=gone)

    await cloud.node.context.store.write(bare)
    await do_twice(cloud, "vm.erase", gone)

    def left(tx: Tx) -> list[set[str]]:
        user, system = (tx.find(UserTag, resource_uuid=[gone, stays]), tx.find(SystemTag, resource_uuid=[gone, stays]))
        return [{tag.resource_uuid for tag in user}, {tag.resource_uuid for tag in system}]

    assert cloud.read_now(lambda tx: tx.get(Resource, gone)) is None
    assert {vm.uuid for vm in cloud.read_now(lambda tx: tx.find(VmInstance))} == {cloud.site["vm"], stays}
    assert cloud.read_now(left) == [{stays}, {stays}]


async def test_what_a_plugin_has_for_a_vm_is_told_before_its_disk_goes(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cloud.call("DestroyVmInstance", uuid=cloud.site["vm"])
    dependents = Cascade.dependents

    def noted(cascade: Cascade, tx: Tx, record: type[Record], uuid: str) -> dict[str, int]:
        return dependents(cascade, tx, record, uuid) | ({"Backup": 2} if record is VmInstance else {})

    monkeypatch.setattr(Cascade, "dependents", noted)
    with pytest.raises(Refused) as caught:
        await cloud.call("ExpungeVmInstance", uuid=cloud.site["vm"])

    assert (caught.value.code, "2 Backups refer to it" in caught.value.detail) == ("vm.in-use", True)
    assert len(cloud.read_now(lambda tx: tx.find(Volume))) == 1
    monkeypatch.undo()
    await cloud.call("ExpungeVmInstance", uuid=cloud.site["vm"])
    assert cloud.read_now(lambda tx: (tx.count(Volume), tx.count(VmInstance))) == (0, 0)
