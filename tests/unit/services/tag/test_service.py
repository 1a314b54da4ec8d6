from __future__ import annotations

import pytest
from tests.unit.services.identity.accounts import account
from tests.unit.services.small_node import SmallNode

from cairn.kernel.tag import SystemTag, UserTag
from cairn.services.tag.messages import CreateSystemTag, CreateUserTag, DeleteTag, UpdateSystemTag
from cairn.services.zone.messages import CreateZone


@pytest.fixture
async def zone(node: SmallNode) -> str:
    return (await node.call(CreateZone(resource_uuid=node.ids.new(), name="z1"))).uuid


async def hang(node: SmallNode, zone: str, tag: str) -> str:
    return (await node.call(CreateSystemTag(resource_type="Zone", resource_uuid=zone, tag=tag))).uuid


async def test_a_system_tag_is_hung_once_however_often_it_is_asked_for(node: SmallNode, zone: str) -> None:
    first, second = await hang(node, zone, "hostname::web"), await hang(node, zone, "hostname::web")

    assert first == second
    shown = await node.shown("SystemTag", first)
    assert (shown["resourceType"], shown["resourceUuid"], shown["tag"]) == ("Zone", zone, "hostname::web")
    assert (shown["type"], shown["inherent"]) == ("System", False)


async def test_system_tags_nobody_understands_are_refused(node: SmallNode, zone: str) -> None:
    unknown = CreateSystemTag(resource_type="Zone", resource_uuid=zone, tag="colour::red")
    wrong = CreateSystemTag(resource_type="Zone", resource_uuid=zone, tag="rack::far-too-long")

    error = await node.refused(unknown, "tag.unknown")
    await node.refused(wrong, "tag.bad-value")

    assert "hostname::{hostname}" in error.message
    assert await node.all(SystemTag) == []


async def test_user_tags_are_free_texts(node: SmallNode, zone: str) -> None:
    await node.call(CreateUserTag(resource_type="Zone", resource_uuid=zone, tag="any text, 100 %"))

    assert [row.tag for row in await node.all(UserTag)] == ["any text, 100 %"]


async def test_tags_on_what_does_not_exist_are_refused(node: SmallNode) -> None:
    gone = node.ids.new()

    await node.refused(CreateUserTag(resource_type="Zone", resource_uuid=gone, tag="x"), "zone.not-found")
    error = await node.refused(
        CreateUserTag(resource_type="Zoen", resource_uuid=gone, tag="x"), "tag.unknown-resource-type"
    )
    assert "Zone" in error.message


async def test_a_tag_is_changed_within_its_meaning(node: SmallNode, zone: str) -> None:
    uuid = await hang(node, zone, "hostname::web")

    await node.call(UpdateSystemTag(uuid=uuid, tag="hostname::db"))
    await node.refused(UpdateSystemTag(uuid=uuid, tag="rack::a1"), "tag.other-kind")
    await node.refused(UpdateSystemTag(uuid=uuid, tag="colour::red"), "tag.unknown")
    await node.refused(UpdateSystemTag(uuid=node.ids.new(), tag="rack::a1"), "system-tag.not-found")

    assert [row.tag for row in await node.all(SystemTag)] == ["hostname::db"]


async def test_a_tag_is_not_changed_into_one_that_is_there(node: SmallNode, zone: str) -> None:
    uuid = await hang(node, zone, "hostname::web")
    await hang(node, zone, "hostname::db")

    await node.refused(UpdateSystemTag(uuid=uuid, tag="hostname::db"), "tag.there-already")
    await node.call(UpdateSystemTag(uuid=uuid, tag="hostname::web"))


async def test_both_kinds_of_tags_are_deleted_and_twice(node: SmallNode, zone: str) -> None:
    system = await hang(node, zone, "hostname::web")
    user = (await node.call(CreateUserTag(resource_type="Zone", resource_uuid=zone, tag="x"))).uuid

    for uuid in (system, user, system, user):
        await node.call(DeleteTag(uuid=uuid))

    assert await node.all(SystemTag) == []
    assert await node.all(UserTag) == []


async def test_what_the_cloud_made_itself_stays(node: SmallNode, zone: str) -> None:
    uuid = await hang(node, zone, "hostname::web")
    await node.context.store.write(lambda tx: tx.update(SystemTag, uuid, inherent=True))

    await node.refused(DeleteTag(uuid=uuid), "tag.inherent")
    await node.refused(UpdateSystemTag(uuid=uuid, tag="hostname::db"), "tag.inherent")


async def test_accounts_hang_tags_on_what_is_theirs_only(node: SmallNode, zone: str) -> None:
    ann, bob = await account(node, "ann"), await account(node, "bob")
    root = await account(node, "root", admin=True)

    await node.refused(CreateUserTag(resource_type="Zone", resource_uuid=zone, tag="x"), "zone.not-found", actor=ann)
    on_ann = CreateUserTag(resource_type="Account", resource_uuid=ann, tag="x")
    await node.refused(on_ann, "account.not-found", actor=bob)
    tag = (await node.call(on_ann, actor=ann)).uuid
    await node.call(DeleteTag(uuid=tag), actor=bob)
    assert [row.uuid for row in await node.all(UserTag)] == [tag], "for bob there is none, which is success"
    await node.call(DeleteTag(uuid=tag), actor=root)
