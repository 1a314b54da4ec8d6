"""The plugin's own workflows, taken through all that can go wrong, as its author tests them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import pytest
from cairn_audit.agent import AuditArea
from cairn_audit.protocol import PutSeal, TakeSeal

from cairn.kernel import log
from cairn.testing.cloud import Cloud, Refused
from cairn.testing.trial import Case, Trial, await_cases, try_workflow

SETTINGS = {"plugins_extra": "cairn_audit.manifest"}  # not needed once the plugin is installed


@pytest.fixture(autouse=True)
def quiet_logs() -> None:
    """What nodes log goes nowhere: one that is killed would tell of each of its tasks, which takes seconds."""
    log.configure(stream=io.StringIO(), level="warning", form="json")


async def running(cloud: Cloud) -> None:
    await cloud.make_site()
    cloud.site["vm"] = str((await cloud.create_vm("web"))["uuid"])


async def sealed(cloud: Cloud) -> None:
    await running(cloud)
    await cloud.call("SealVmInstance", uuid=cloud.site["vm"])


def the_vm(cloud: Cloud) -> Mapping[str, object]:
    return {"uuid": cloud.site["vm"]}


SEAL = Trial(workflow="vm.seal", api="SealVmInstance", prepare=running, fields=the_vm, settings=SETTINGS, hosts=1)
BREAK = Trial(
    workflow="vm.break-seal", api="BreakSealOfVmInstance", prepare=sealed, fields=the_vm, settings=SETTINGS, hosts=1
)


@pytest.mark.parametrize("case", await_cases(SEAL), ids=str)
async def test_seal(case: Case) -> None:
    await try_workflow(SEAL, case)


@pytest.mark.parametrize("case", await_cases(BREAK), ids=str)
async def test_break_seal(case: Case) -> None:
    await try_workflow(BREAK, case)


async def test_seal_is_shown_beside_the_vm_and_kept_by_its_host() -> None:
    async with Cloud.open(hosts=1, settings=SETTINGS) as cloud:
        await running(cloud)
        (before,) = await cloud.query("VmInstance")
        vm = await cloud.call("SealVmInstance", **the_vm(cloud))

        seal = vm["auditSeal"]
        assert before["auditSeal"] is None
        assert isinstance(seal, dict)
        assert cloud.world.hosts["sim-0001"].kept["audit"] == {cloud.site["vm"]: seal["number"]}
        assert [one["name"] for one in await cloud.query("VmInstance", f"auditSeal.number={seal['number']}")] == ["web"]
        again = await cloud.call("SealVmInstance", **the_vm(cloud))
        assert again["auditSeal"] == seal


async def test_sealed_vm_is_not_destroyed_before_the_seal_is_broken() -> None:
    async with Cloud.open(hosts=1, settings=SETTINGS) as cloud:
        await sealed(cloud)
        with pytest.raises(Refused) as refused:
            await cloud.call("DestroyVmInstance", **the_vm(cloud))
        assert refused.value.code == "audit.vm-sealed"

        await cloud.call("BreakSealOfVmInstance", **the_vm(cloud))
        assert cloud.world.hosts["sim-0001"].kept == {}
        await cloud.call("DestroyVmInstance", **the_vm(cloud))


async def test_vm_on_no_host_is_not_sealed() -> None:
    async with Cloud.open(hosts=1, settings=SETTINGS) as cloud:
        await running(cloud)
        await cloud.call("StopVmInstance", **the_vm(cloud))
        with pytest.raises(Refused) as refused:
            await cloud.call("SealVmInstance", **the_vm(cloud))
        assert refused.value.code == "audit.not-running"


async def test_vm_shows_nothing_of_the_plugin_while_that_is_disabled() -> None:
    async with Cloud.open(hosts=1, settings={**SETTINGS, "plugins_disabled": "audit"}) as cloud:
        await running(cloud)
        (vm,) = await cloud.query("VmInstance")
        assert "auditSeal" not in vm


async def test_agent_keeps_a_seal_until_it_is_told_to_forget_it(tmp_path: Path) -> None:
    area = AuditArea(tmp_path / "seals")
    await area.take(TakeSeal(vm="v1"))  # none there is success
    for number in ("1", "2"):
        await area.put(PutSeal(vm="v1", number=number))
    assert [(path.name, path.read_text()) for path in (tmp_path / "seals").iterdir()] == [("v1", "2")]
    await area.take(TakeSeal(vm="v1"))
    assert list((tmp_path / "seals").iterdir()) == []


async def test_schema_says_that_a_vm_has_one_seal_or_none() -> None:
    async with Cloud.open(hosts=1, settings=SETTINGS) as cloud:
        _, api = await cloud.request("GET", "/v1/openapi.json")
        schemas = api["components"]["schemas"]  # type: ignore[index]
        shown = schemas["VmInstanceInventory"]["properties"]["auditSeal"]
        assert shown["anyOf"] == [{"$ref": "#/components/schemas/AuditSealInventory"}, {"type": "null"}]
