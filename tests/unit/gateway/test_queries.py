from __future__ import annotations

from unittest.mock import ANY

import pytest
from tests.unit.gateway.world import ALICE, AS_ADMIN, AS_ALICE, AS_BOB, BOB, MISSING, World

from cairn.gateway.queries import collection_path
from cairn.testing.clock import VirtualClock


def names(answer: dict[str, object]) -> list[str]:
    inventories = answer["inventories"]
    assert isinstance(inventories, list)
    return [inventory["name"] for inventory in inventories]


@pytest.fixture
async def boxes(cloud: World, clock: VirtualClock) -> World:
    for name, owner in (("web-1", ALICE), ("web-2", ALICE), ("db", ALICE), ("other", BOB)):
        await cloud.box(name, owner)
        await clock.advance(1)
    return cloud


async def test_account_sees_its_own_and_admin_sees_all(boxes: World) -> None:
    alice = await boxes.call("GET", "/v1/boxes", None, AS_ALICE)
    admin = await boxes.call("GET", "/v1/boxes", None, AS_ADMIN)

    assert names(alice.json()) == ["web-1", "web-2", "db"]
    assert len(names(admin.json())) == 4
    assert "total" not in admin.json()


async def test_conditions_sort_fields_and_paging_reach_the_engine(boxes: World) -> None:
    answer = await boxes.call(
        "GET",
        "/v1/boxes?q=name~=web%25&q=color=Red&sort=-name&limit=1&replyWithCount=true&fields=name,color",
        None,
        AS_ALICE,
    )

    assert answer.json() == {"inventories": [{"name": "web-2", "color": "Red"}], "total": 2, "next": ANY}


async def test_the_next_page_is_asked_for_by_what_the_page_before_came_with(boxes: World) -> None:
    first = (await boxes.call("GET", "/v1/boxes?sort=name&limit=2", None, AS_ALICE)).json()
    second = (await boxes.call("GET", f"/v1/boxes?sort=name&limit=2&after={first['next']}", None, AS_ALICE)).json()

    assert names(first) + names(second) == ["db", "web-1", "web-2"]
    assert "next" not in second


async def test_ascending_sort_with_a_bare_plus_sign_works(boxes: World) -> None:
    answer = await boxes.call("GET", "/v1/boxes?sort=+name&start=1&limit=1", None, AS_ALICE)

    assert names(answer.json()) == ["web-1"]


async def test_count_alone_has_no_inventories(boxes: World) -> None:
    answer = await boxes.call("GET", "/v1/boxes?count=true", None, AS_ALICE)

    assert answer.json() == {"total": 3}


async def test_nothing_found_is_an_empty_list(boxes: World) -> None:
    answer = await boxes.call("GET", "/v1/boxes?q=name=none", None, AS_ALICE)

    assert answer.json() == {"inventories": []}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("q=nam=x", "query.unknown-field"),
        ("q=name", "query.no-operator"),
        ("sort=nam", "query.bad-sort"),
        ("fields=nam", "query.unknown-field"),
        ("limit=x", "api.invalid-field"),
        ("limit=10001", "api.invalid-field"),
        ("lmit=1", "api.invalid-field"),
        ("limit=1&limit=2", "api.invalid-field"),
        ("start=99999999999999999999", "query.bad-limit"),
    ],
)
async def test_wrong_query_is_400_and_says_what_would_fit(boxes: World, query: str, code: str) -> None:
    answer = await boxes.call("GET", f"/v1/boxes?{query}", None, AS_ALICE)

    assert (answer.status, answer.json()["code"]) == (400, code)
    assert answer.fields()


async def test_one_is_shown_to_its_owner_only(boxes: World) -> None:
    box = await boxes.box("mine", ALICE)

    mine = await boxes.call("GET", f"/v1/boxes/{box}", None, AS_ALICE)
    theirs = await boxes.call("GET", f"/v1/boxes/{box}", None, AS_BOB)
    missing = await boxes.call("GET", f"/v1/boxes/{MISSING}", None, AS_ADMIN)

    assert names(mine.json()) == ["mine"]
    assert (theirs.status, theirs.json()["code"]) == (404, "box.not-found")
    assert missing.status == 404


async def test_entity_for_admins_is_refused_to_accounts(boxes: World) -> None:
    alice = await boxes.call("GET", "/v1/event-log", None, AS_ALICE)
    admin = await boxes.call("GET", "/v1/event-log", None, AS_ADMIN)

    assert (alice.status, alice.json()["code"]) == (403, "auth.admin-only")
    assert admin.status == 200


@pytest.mark.parametrize(
    ("entity", "path"),
    [
        ("Zone", "/zones"),
        ("VmInstance", "/vm-instances"),
        ("L2Network", "/l2-networks"),
        ("PrimaryStorage", "/primary-storage"),
        ("SecurityGroupPolicy", "/security-group-policies"),
        ("Alias", "/aliases"),
        ("Key", "/keys"),
        ("IpRange", "/ip-ranges"),
    ],
)
def test_collection_is_the_plural_unless_given(entity: str, path: str) -> None:
    assert collection_path(entity) == path
