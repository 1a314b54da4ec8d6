"""What guests are told, what they are made of, and what one account can take from another by a uuid."""

from __future__ import annotations

import base64
from typing import cast

import pytest
from tests.flows.world import broken_rules

from cairn.agents.protocol.network import MetadataEntry
from cairn.kernel.tag import SystemTag
from cairn.simulator.world import SimVm
from cairn.testing.cloud import Cloud, Json, Refused

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAlice"
BIG = bytes(range(256)) * 256


def told(cloud: Cloud, vm: Json) -> MetadataEntry:
    known = [one for host in cloud.world.hosts.values() for served in host.metadata.values() for one in served.values()]
    (mine,) = [one for one in known if one.vm == vm["uuid"]]
    return mine


def domain(cloud: Cloud, vm: Json) -> SimVm:
    (found,) = [host.vms[str(vm["uuid"])] for host in cloud.world.hosts.values() if vm["uuid"] in host.vms]
    return found


def user_data(data: bytes) -> str:
    return f"userdata::{base64.b64encode(data).decode()}"


async def refused(cloud: Cloud, code: str, api: str, **fields: object) -> Refused:
    with pytest.raises(Refused) as caught:
        await cloud.call(api, **fields)
    assert caught.value.code == code, caught.value.problem
    return caught.value


async def of_tenant(cloud: Cloud, name: str) -> str:
    """Log a new tenant in, and add an image of its own."""
    await cloud.log_in()
    await cloud.call("CreateAccount", name=name, password=f"pw-{name}")
    await cloud.log_in(name, f"pw-{name}")
    return str((await add_image(cloud, f"image of {name}"))["uuid"])


async def add_image(cloud: Cloud, name: str, **more: object) -> Json:
    fields: dict[str, object] = {"url": "http://images/tiny.qcow2", "format": "qcow2", **more}
    return await cloud.call("AddImage", name=name, backup_storage_uuids=[cloud.site["backup"]], **fields)


async def test_user_data_of_the_full_length_arrives_byte_for_byte_and_again_after_a_reconnect(cloud: Cloud) -> None:
    vm = await cloud.create_vm("web", system_tags=[user_data(BIG), f"sshkey::{KEY}"])
    assert told(cloud, vm).user_data == BIG
    for host in ("host-1", "host-2"):
        await cloud.call("ReconnectHost", uuid=cloud.site[host])
    assert (told(cloud, vm).user_data, told(cloud, vm).ssh_keys) == (BIG, [KEY])
    assert await cloud.query("Host", "status!=Connected") == []


async def test_what_a_guest_is_told_is_bounded_in_bytes_where_it_is_said(cloud: Cloud) -> None:
    keys = [f"sshkey::ssh-ed25519 {number:03}{'A' * 4000}" for number in range(100)]
    fields = cloud.vm_fields("web")
    await refused(cloud, "tag.bad-value", "CreateVmInstance", **fields, system_tags=[user_data(BIG + b"x")])
    await refused(cloud, "tag.too-many-bytes", "CreateVmInstance", **fields, system_tags=keys)
    vm = await cloud.create_vm("web", system_tags=keys[:8])
    where = {"resource_type": "VmInstance", "resource_uuid": vm["uuid"]}
    error = await refused(cloud, "tag.too-many-bytes", "CreateSystemTag", tag=keys[8], **where)
    assert "at most 32768" in error.detail
    bad = await refused(cloud, "tag.bad-value", "CreateVmInstance", **fields, system_tags=["userdata::Zm9vé"])
    assert "Zm9v" not in bad.detail


async def test_a_vm_has_one_host_name_and_one_user_data(cloud: Cloud) -> None:
    fields = cloud.vm_fields("web")
    twice = [["hostname::a", "hostname::b"], [user_data(b"a"), user_data(b"b")]]
    for tags in twice:
        await refused(cloud, "tag.only-one", "CreateVmInstance", **fields, system_tags=tags)
    vm = await cloud.create_vm("web", system_tags=["hostname::a"])
    where = {"resource_type": "VmInstance", "resource_uuid": vm["uuid"]}
    await refused(cloud, "tag.only-one", "CreateSystemTag", tag="hostname::b", **where)
    (tag,) = await cloud.query("SystemTag", f"resourceUuid={vm['uuid']}")
    assert (await cloud.call("UpdateSystemTag", uuid=tag["uuid"], tag="hostname::b"))["tag"] == "hostname::b"


async def test_tags_that_differ_only_by_case_are_two(cloud: Cloud) -> None:
    vm = await cloud.create_vm("web", system_tags=["userdata::QUJD"])
    (tag,) = await cloud.query("SystemTag", f"resourceUuid={vm['uuid']}")
    await cloud.call("UpdateSystemTag", uuid=tag["uuid"], tag="userdata::qujd")
    await cloud.call("StopVmInstance", uuid=vm["uuid"])
    await cloud.call("StartVmInstance", uuid=vm["uuid"])
    assert told(cloud, vm).user_data == base64.b64decode("qujd")


@pytest.mark.parametrize("name", ["web\x01", "web\uffff", "a\x1bb", "a\nb"])
async def test_a_name_with_a_control_character_is_refused_before_anything_is_done(cloud: Cloud, name: str) -> None:
    vm = await cloud.create_vm("web")
    for api, fields in (
        ("CreateVmInstance", cloud.vm_fields(name)),
        ("UpdateVmInstance", {"uuid": vm["uuid"], "name": name}),
        ("CreateZone", {"name": name}),
    ):
        error = await refused(cloud, "api.invalid-field", api, **fields)
        assert "control character" in cast("dict[str, str]", error.problem["fields"])["name"]


async def test_a_vm_gets_the_devices_and_the_clock_that_its_image_declares(cloud: Cloud) -> None:
    image = await add_image(cloud, "old", platform="Windows", virtio=False)
    vm = await cloud.create_vm("old", image_uuid=image["uuid"])
    assert vm["virtio"] is False
    assert [nic["driverType"] for nic in cast("list[Json]", vm["vmNics"])] == ["e1000"]
    for _ in range(2):
        real = domain(cloud, vm)
        assert (real.hardware.platform, real.disks[0].bus, real.nics[0].model) == ("Windows", "ide", "e1000")
        await cloud.call("StopVmInstance", uuid=vm["uuid"])
        await cloud.call("UpdateImage", uuid=image["uuid"], virtio=True)
        await cloud.call("StartVmInstance", uuid=vm["uuid"])


async def test_a_vm_of_another_architecture_finds_no_host(cloud: Cloud) -> None:
    image = await add_image(cloud, "arm", architecture="aarch64")
    error = await refused(
        cloud, "host.none-fits", "CreateVmInstance", **cloud.vm_fields("arm", image_uuid=image["uuid"])
    )
    assert "aarch64" in str(error.problem)
    assert broken_rules(cloud) == []


async def test_a_uuid_of_another_account_is_refused_while_it_is_used_and_after(cloud: Cloud) -> None:
    image = await of_tenant(cloud, "alice")
    tags = [user_data(b"secret"), f"sshkey::{KEY}", "hostname::db"]
    vm = await cloud.call("CreateVmInstance", **cloud.vm_fields("db", image_uuid=image, system_tags=tags))
    mallorys = await of_tenant(cloud, "mallory")
    before = await _all_tags(cloud)

    async def try_all() -> None:
        more = {"url": "http://images/tiny.qcow2", "format": "qcow2", "backup_storage_uuids": [cloud.site["backup"]]}
        await refused(cloud, "resource.uuid-taken", "AddImage", name="x", resource_uuid=vm["uuid"], **more)
        fields = cloud.vm_fields("evil", image_uuid=mallorys)
        await refused(cloud, "resource.uuid-taken", "CreateVmInstance", resource_uuid=vm["uuid"], **fields)

    await try_all()
    assert await _all_tags(cloud) == before
    assert told(cloud, vm).user_data == b"secret"
    await cloud.log_in("alice", "pw-alice")
    await cloud.call("DestroyVmInstance", uuid=vm["uuid"])
    await cloud.call("ExpungeVmInstance", uuid=vm["uuid"])
    await cloud.log_in("mallory", "pw-mallory")
    await try_all()
    await cloud.log_in("alice", "pw-alice")
    fields = cloud.vm_fields("db again", image_uuid=image)
    assert (await cloud.call("CreateVmInstance", resource_uuid=vm["uuid"], **fields))["uuid"] == vm["uuid"]


async def _all_tags(cloud: Cloud) -> list[str]:
    return cloud.read_now(lambda tx: sorted(row.text for row in tx.find(SystemTag)))
