"""What an ordinary account learns of others and of the data center, by whatever query: through the API, as `eve`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
import pytest_asyncio
from tests.integration.conftest import delete_everything, left_over, saved_site

from cairn.simulator.dials import Dial
from cairn.testing.cloud import Cloud, Refused

PASSWORD = "another horse battery"
#: what tells where the data center's machines are, and what they are
INFRASTRUCTURE = ("10.0.0.", "http://", "/var/lib", "tcg", "eth0", "installPath", "Capacity", "agentBoot", "libvirt")

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def eve() -> AsyncIterator[Cloud]:
    """A cloud in which `alice` has a VM with a tag, and whose calls are those of `eve`, who has only an image."""
    async with Cloud.open(saved=await saved_site()) as cloud:
        zone, storage = cloud.site["zone"], [cloud.site["backup"]]
        await cloud.call("CreateUserTag", resource_type="Zone", resource_uuid=zone, tag="rent-is-due")
        image = {"name": "tiny", "url": "http://images/tiny.qcow2", "format": "qcow2", "backup_storage_uuids": storage}
        for name in ("alice", "eve"):
            cloud.site[name] = await cloud.create_account(name, PASSWORD)
        await cloud.log_in("alice", PASSWORD)
        alices = await cloud.call("AddImage", **image)
        vm = await cloud.create_vm("alices", image_uuid=alices["uuid"], user_tags=["secret-plan"])
        cloud.site |= {"vm": str(vm["uuid"]), "volume": str(vm["rootVolumeUuid"]), "alices-image": str(alices["uuid"])}
        cloud.site["ip"] = str(vm["vmNics"][0]["ip"])  # type: ignore[index]
        await cloud.log_in("eve", PASSWORD)
        await cloud.call("AddImage", **image)
        yield cloud
        await cloud.log_in()
        await delete_everything(cloud)
        assert left_over(cloud) == []


async def total(cloud: Cloud, entity: str, condition: str) -> object:
    """How many there are, or the code of the refusal."""
    path = cloud.node.gateway.paths[entity]
    _, answer = await cloud.request("GET", f"/v1{path}?count=true&q={quote(condition)}")
    return answer.get("total", answer.get("code"))


async def test_nothing_that_is_shown_tells_of_others_or_of_machines(eve: Cloud) -> None:
    others = [eve.site[key] for key in ("vm", "volume", "alices-image", "ip", "alice")]
    seen = []
    for entity in sorted(eve.node.gateway.paths):
        try:
            rows = await eve.query(entity)
        except Refused as refused:
            assert (refused.status, refused.code) == (403, "auth.admin-only"), entity
            continue
        seen.append(entity)
        told = json.dumps([{**row, "url": ""} if entity == "Image" else row for row in rows], default=str)
        assert [word for word in (*others, *INFRASTRUCTURE, "secret-plan", "rent-is-due") if word in told] == [], entity
    assert {"Host", "BackupStorage", "PrimaryStorage", "L3Network", "Image"} <= set(seen)


@pytest.mark.parametrize(
    ("entity", "condition"),
    [
        ("Zone", "vmInstances.name~=%"),
        ("Zone", "hosts.vmInstance.name~=alice%"),
        ("Host", "vmInstance.uuid not null"),
        ("L3Network", "vmNics.ip~=%"),
        ("L3Network", "vmNics.vmInstance.name~=%alice%"),
        ("InstanceOffering", "vmInstances.name~=%"),
        ("PrimaryStorage", "volumes.size>0"),
        ("BackupStorage", "imageRefs.imageUuid=$alices-image"),
        ("Zone", "__userTag__=rent-is-due"),
        ("Host", "vmInstance.__userTag__=secret-plan"),
    ],
)
async def test_conditions_count_no_rows_of_others(eve: Cloud, entity: str, condition: str) -> None:
    assert await total(eve, entity, condition.replace("$alices-image", eve.site["alices-image"])) == 0


@pytest.mark.parametrize(
    ("entity", "condition"),
    [
        ("Host", "managementIp~=10.%"),
        ("Host", "availableMemoryCapacity>0"),
        ("Host", "localStorageResourceRefs.size>0"),
        ("Host", "localStorageHostRefs.totalCapacity>0"),
        ("Zone", "hosts.kernel~=%"),
        ("L3Network", "usedIps.usedFor=$vm"),
        ("IpRange", "usedIps.ip=$ip"),
        ("PrimaryStorage", "imageCaches.imageUuid=$alices-image"),
        ("PrimaryStorage", "url~=/%"),
        ("BackupStorage", "url~=/%"),
        ("Volume", "installPath~=%"),
        ("Image", "backupStorageRefs.installPath~=%"),
        ("VmInstance", "host.managementIp~=%"),
    ],
)
async def test_what_is_for_operators_is_as_unknown_as_what_does_not_exist(
    eve: Cloud, entity: str, condition: str
) -> None:
    for key in ("vm", "ip", "alices-image"):
        condition = condition.replace(f"${key}", eve.site[key])
    assert await total(eve, entity, condition) == "query.unknown-field"


async def test_fields_of_hosts_of_one_type_stay_unknown(eve: Cloud) -> None:
    for condition in ("username~=%", "url~=%", "sshPort=22"):
        path = f"/v1/hosts?q={quote('hypervisorType=Simulator')}&q={quote(condition)}"
        status, answer = await eve.request("GET", path)
        assert (status, answer["code"]) == (400, "query.unknown-field")
        assert "Simulator" not in str(answer["details"]["fits"])  # type: ignore[index]
    for more in ("sort=managementIp", "fields=managementIp", "fields=url"):
        status, answer = await eve.request("GET", f"/v1/hosts?{more}")
        assert status == 400, answer


async def test_result_of_an_accounts_call_has_what_its_queries_show(eve: Cloud) -> None:
    await eve.log_in("alice", PASSWORD)
    vm = await eve.call("UpdateVmInstance", uuid=eve.site["vm"], description="mine")
    assert vm == (await eve.query("VmInstance"))[0]
    assert "installPath" not in json.dumps(vm, default=str)
    await eve.log_in()
    vm = await eve.call("UpdateVmInstance", uuid=eve.site["vm"], description="whose?")
    assert vm == (await eve.query("VmInstance"))[0]
    assert "installPath" in json.dumps(vm, default=str)
    await eve.log_in("eve", PASSWORD)


async def test_what_is_anothers_is_not_found_by_its_uuid(eve: Cloud) -> None:
    for path, code in (("vm-instances", "vm.not-found"), ("volumes", "volume.not-found")):
        uuid = eve.site["vm" if path == "vm-instances" else "volume"]
        status, answer = await eve.request("GET", f"/v1/{path}/{uuid}")
        assert (status, answer["code"]) == (404, code)


async def failed(cloud: Cloud, **fields: object) -> dict[str, object]:
    """The error of a creation that fails."""
    image = (await cloud.query("Image"))[0]["uuid"]
    with pytest.raises(Refused) as caught:
        await cloud.create_vm("unlucky", image_uuid=image, **fields)
    return caught.value.problem


async def test_errors_tell_accounts_of_no_machine_and_administrators_of_each(eve: Cloud) -> None:
    errors = [await failed(eve, memory_size=1 << 44)]
    eve.agents.dials.turn(Dial(command="vm.start", error_rate=1.0, error_code="agent.hypervisor"))
    errors.append(await failed(eve))
    eve.agents.dials.clear()
    assert [error["code"] for error in errors] == ["host.none-fits", "agent.hypervisor"]
    jobs = {error["job"]: row for error in errors for row in await eve.query("Job", f"uuid={error['job']}")}
    looked = [(await eve.request("GET", f"/v1/api-jobs/{job}"))[1] for job in jobs]
    told = json.dumps([errors, *jobs.values(), looked], default=str)
    assert [word for word in ("sim-0", "operator", "simulated", "MiB of memory free", "10.0.0.") if word in told] == []
    for condition in ("error~=%sim-0%", "error!~=%sim-0%"):
        assert await total(eve, "Job", condition) == "query.bad-operator"

    await eve.log_in()
    for job, words in zip(jobs, ("sim-0001 has", "simulated failure"), strict=True):
        (row,) = await eve.query("Job", f"uuid={job}")
        assert words in str(row["error"]["operator"])  # type: ignore[index]
        assert words in str((await eve.request("GET", f"/v1/api-jobs/{job}"))[1]["error"]["operator"])  # type: ignore[index]
    assert await total(eve, "Job", "error~=%sim-0%") == 1
    await eve.log_in("eve", PASSWORD)


async def test_whose_an_address_is_stays_untold(eve: Cloud) -> None:
    path = f"/v1/l3-networks/{eve.site['l3']}/ip/{eve.site['ip']}/availability"
    status, answer = await eve.request("GET", path)
    assert (status, answer["available"], answer["reason"]) == (200, False, f"{eve.site['ip']} is taken")
    image = (await eve.query("Image"))[0]["uuid"]
    with pytest.raises(Refused) as caught:
        tag = f"staticIp::{eve.site['l3']}::{eve.site['ip']}"
        await eve.create_vm("thief", image_uuid=image, system_tags=[tag])
    assert caught.value.code == "l3.address-taken"
    assert eve.site["vm"] not in json.dumps(caught.value.problem)


async def test_a_query_there_and_back_is_answered_and_one_too_long_is_refused(eve: Cloud) -> None:
    assert await total(eve, "VmInstance", "zone.vmInstances.zone.vmInstances.zone.vmInstances.name!~=%") == 0
    assert await total(eve, "Zone", "vmInstances.zone." * 5 + "name=x") == "query.too-complex"
    status, answer = await eve.request("GET", "/v1/zones?" + "&".join(["q=name=x"] * 51))
    assert (status, answer["code"]) == (400, "query.too-complex")
