"""What an ordinary account sees and may do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from tests.flows.world import differences, snapshot

from cairn.kernel.api import Access, AnyApi, ApiCreate
from cairn.testing.cloud import Cloud, Refused

PASSWORD = "another horse battery"


@pytest.fixture
async def two(cloud: Cloud) -> AsyncIterator[Cloud]:
    """A cloud in which `admin` has a VM, and in which the calls are those of the account `alice`, who has one, too."""
    cloud.site["admins"] = str((await cloud.create_vm("admins"))["uuid"])
    await cloud.create_account("alice", PASSWORD)
    # Networks and images are shared with nobody yet, so the account's VM is made of its own.
    await cloud.log_in("alice", PASSWORD)
    yield cloud
    await cloud.log_in()


async def test_account_sees_only_what_is_its_own(two: Cloud) -> None:
    assert await two.query("VmInstance") == []
    assert await two.query("VmNic") == []
    assert await two.query("Volume") == []
    assert await two.query("Image") == []
    assert [row["name"] for row in await two.query("Account")] == ["alice"]
    assert [row["api"] for row in await two.query("Job")] == []
    status, _ = await two.request("GET", f"/v1/vm-instances/{two.site['admins']}")
    assert status == 404


@pytest.mark.parametrize(
    ("api", "fields"),
    [
        ("StartVmInstance", {}),
        ("StopVmInstance", {}),
        ("RebootVmInstance", {}),
        ("UpdateVmInstance", {"name": "mine"}),
        ("GetVmConsoleAddress", {}),
    ],
)
async def test_vm_of_another_is_as_if_it_were_not_there(two: Cloud, api: str, fields: dict[str, object]) -> None:
    before = snapshot(two)
    with pytest.raises(Refused) as refused:
        await two.call(api, uuid=two.site["admins"], **fields)
    assert (refused.value.status, refused.value.code) == (404, "vm.not-found")
    assert differences(before, snapshot(two)) == []


@pytest.mark.parametrize("api", ["DestroyVmInstance"])
async def test_deleting_what_is_anothers_deletes_nothing(two: Cloud, api: str) -> None:
    before = snapshot(two)
    try:
        await two.call(api, uuid=two.site["admins"])
    except Refused as refused:
        assert refused.code == "vm.not-found"
    assert differences(before, snapshot(two)) == []


async def test_tags_cannot_be_hung_on_what_is_anothers(two: Cloud) -> None:
    before = snapshot(two)
    with pytest.raises(Refused):
        await two.call("CreateUserTag", resource_type="VmInstance", resource_uuid=two.site["admins"], tag="mine")
    assert differences(before, snapshot(two)) == []


@pytest.mark.parametrize(
    ("api", "fields"),
    [
        ("CreateZone", {"name": "mine"}),
        ("DeleteZone", {"uuid": "$zone"}),
        ("ReconnectHost", {"uuid": "$host-1"}),
        ("ChangeHostState", {"uuid": "$host-1", "state_event": "disable"}),
        ("UpdateGlobalConfig", {"category": "host", "name": "parallelism", "value": "1"}),
        ("CreateAccount", {"name": "bob", "password": PASSWORD}),
        ("AddIpRangeByNetworkCidr", {"l3_network_uuid": "$l3", "name": "r", "network_cidr": "10.98.0.0/24"}),
        ("DeleteBackupStorage", {"uuid": "$backup"}),
    ],
)
async def test_calls_of_operators_are_refused(two: Cloud, api: str, fields: dict[str, object]) -> None:
    before = snapshot(two)
    filled = {name: two.site.get(str(value)[1:], value) for name, value in fields.items()}
    with pytest.raises(Refused) as refused:
        await two.call(api, **filled)
    assert refused.value.status == 403, refused.value
    assert differences(before, snapshot(two)) == []


@pytest.mark.parametrize("entity", ["GlobalConfig", "WorkflowRun", "ManagementNode", "Event"])
async def test_operators_tables_are_refused(two: Cloud, entity: str) -> None:
    with pytest.raises(Refused) as refused:
        await two.query(entity)
    assert refused.value.status == 403


async def test_operator_sees_and_does_everything(two: Cloud) -> None:
    await two.log_in()
    assert [row["name"] for row in await two.query("VmInstance")] == ["admins"]
    assert {row["name"] for row in await two.query("Account")} == {"admin", "alice"}


async def test_disabled_account_cannot_log_in_and_its_sessions_end(two: Cloud) -> None:
    (alice,) = await two.query("Account")
    await two.log_in()
    await two.call("ChangeAccountState", uuid=alice["uuid"], state_event="disable")
    with pytest.raises(Refused) as refused:
        await two.log_in("alice", PASSWORD)
    assert refused.value.status in (401, 403)


async def test_without_a_session_nothing_is_told(cloud: Cloud) -> None:
    for headers in ({"authorization": ""}, {"authorization": f"OAuth {'0' * 32}"}):
        status, problem = await cloud.request("GET", "/v1/vm-instances", None, headers)
        assert status == 401
        assert str(problem["code"]).startswith("auth.")


NOBODY = "0" * 32
#: values of fields that calls have to have, and that name nothing
FILLED: dict[str, object] = {
    "name": "mine",
    "url": "http://images/tiny.qcow2",
    "format": "qcow2",
    "state_event": "disable",
    "tag": "hostname::evil",
    "resource_type": "VmInstance",
    "ip": "10.89.0.20",
    "cpu_num": 1,
    "memory_size": 64 << 20,
}


async def _things(cloud: Cloud) -> dict[str, str]:
    """Something of the admin's, of each kind that accounts can have."""
    vm = cloud.site["admins"]
    alice = (await cloud.query("Account", "name=alice"))[0]["uuid"]
    for tag, api in (("hostname::secret", "CreateSystemTag"), ("secret", "CreateUserTag")):
        await cloud.call(api, resource_type="VmInstance", resource_uuid=vm, tag=tag)
    things = {"VmInstance": vm}
    for entity in ("Account", "Image", "Volume", "VmNic", "SystemTag", "UserTag", "Job"):
        rows = await cloud.query(entity)
        things[entity] = next(str(row["uuid"]) for row in rows if alice not in (row["uuid"], row.get("accountUuid")))
    return things


def _calls(cloud: Cloud) -> list[tuple[type[AnyApi], str]]:
    """Each call that is open to accounts, with each field by which it may name something."""
    open_to = {api.cls: api for api in cloud.node.gateway.bindings if api.access is Access.ACCOUNT}
    named = [(cls, param) for cls, api in open_to.items() for param in api.params.values() if "uuid" in param.name]
    return [
        (cls, param.name)
        for cls, param in named
        if "session" not in param.name and not (param.name == "resource_uuid" and issubclass(cls, ApiCreate))
    ]


async def _outcome(cloud: Cloud, api: type[AnyApi], field: str, uuid: str) -> str:
    """How a call ends that names `uuid`, without the names of what it names and of its own job."""
    params = next(one for one in cloud.node.gateway.bindings if one.cls is api).params.values()
    values: dict[str, object] = {
        one.name: FILLED.get(one.name, [NOBODY] if one.name.endswith("uuids") else NOBODY)
        for one in params
        if one.required or one.name in ("cpu_num", "memory_size")
    }
    values[field] = [uuid] if field.endswith("uuids") and api.http.key is not None else uuid
    status, answer = await cloud.send(api.__name__, **values)
    text = json.dumps([status, answer], default=str)
    if status == 202:
        job = str(answer["uuid"])
        _, ended = await cloud.request("GET", f"/v1/api-jobs/{job}?wait=60")
        text = json.dumps([ended["state"], ended.get("error"), ended.get("result")], default=str).replace(job, "job")
    return text.replace(uuid, "it")


async def test_no_call_tells_what_is_anothers_from_what_is_not_there(two: Cloud) -> None:
    await two.log_in()
    things = await _things(two)
    await two.log_in("alice", PASSWORD)
    calls, before, told = _calls(two), snapshot(two), []
    for api, field in calls:
        nothing = await _outcome(two, api, field, NOBODY.replace("0", "d"))
        for entity, uuid in things.items():
            outcome = await _outcome(two, api, field, uuid)
            if outcome != nothing:
                told.append((api.__name__, field, entity, outcome, nothing))

    assert told == []
    assert len(calls) >= 30
    assert differences(before, snapshot(two)) == []
