from __future__ import annotations

from typing import cast

import pytest
from tests.unit.services.vm.paper_agents import PaperAgents

from cairn.agents.protocol import vm as agent
from cairn.kernel.error import CairnError
from cairn.kernel.resource import Resource
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import SystemTag, UserTag
from cairn.services.ids import HostId
from cairn.services.vm.model import VmInstance, VmNic, VmState
from cairn.services.vm.steps.life import Former
from cairn.services.vm.steps.remove import DestroyOnHost, EraseVm, RemoveInput, RemoveNics
from cairn.services.vm.steps.stop import OnHostInput
from cairn.services.volume.model import Volume
from cairn.testing.cloud import Cloud


def step_of(cloud: Cloud, name: str) -> RemoveNics | EraseVm:
    return cast("RemoveNics | EraseVm", cloud.node.context.flows.book.step(name))


async def do_twice(cloud: Cloud, name: str, vm: str) -> None:
    for _ in range(2):
        await cloud.node.context.store.write(lambda tx: step_of(cloud, name).do(tx, RemoveInput(uuid=vm)))


async def test_a_vm_is_taken_off_the_host_that_it_is_or_was_on() -> None:
    agents = PaperAgents()
    former = Former(state=VmState.STOPPED, last_host_uuid=HostId("host"))

    await DestroyOnHost(agents).do(OnHostInput(uuid="vm", former=former))

    assert agents.asked == ["vm.destroy on host"]
    assert agents.commands == [(agent.DestroyVm(vm="vm"), None)]


@pytest.mark.parametrize(("host", "code"), [(HostId("host"), "agent.unreachable"), (None, "vm.no-host")])
async def test_a_host_that_cannot_be_asked_is_told(host: HostId | None, code: str) -> None:
    former = Former(state=VmState.STOPPED, last_host_uuid=host)
    with pytest.raises(CairnError) as caught:
        await DestroyOnHost(PaperAgents("agent.unreachable")).do(OnHostInput(uuid="vm", former=former))
    assert caught.value.code == code


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
