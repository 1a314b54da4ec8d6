"""What an ordinary account sees and may do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.flows.world import differences, snapshot

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
