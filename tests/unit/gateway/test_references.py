from __future__ import annotations

import pytest
from tests.unit.gateway.world import ADMIN, ALICE, BOB, MISSING, Box, CreateBox, RenameBox, Share, Site

from cairn.gateway.binding import ApiBinding
from cairn.gateway.problem import HttpError
from cairn.gateway.references import References
from cairn.kernel.api import AnyApi
from cairn.kernel.error import CairnError
from cairn.kernel.query import QueryEngine, Shares
from cairn.kernel.query.plan import Scope
from cairn.kernel.store import Schema, Store, Tx
from cairn.testing.clock import VirtualClock

SITE, BOX, SHARED = "1" * 32, "2" * 32, "3" * 32
PATHS = {"/boxes": "Box", "/sites": "Site"}


class World:
    def __init__(self, store: Store) -> None:
        self.references = References(store, QueryEngine(store.schema, store, shares=Shares(table="share")))

    async def missing(self, call: AnyApi, account: str) -> list[tuple[str, str]]:
        scope = Scope(None if account == ADMIN else account)
        found = await self.references.missing(ApiBinding(type(call), PATHS), call, scope)
        return [(param.wire, uuid) for param, uuid in found]


@pytest.fixture
async def world() -> World:
    store = await Store.memory(Schema([Site, Box, Share]), VirtualClock(), inline=True)

    def fill(tx: Tx) -> None:
        tx.insert(Site(uuid=SITE, name="s"))
        for uuid in (BOX, SHARED):
            tx.insert(Box(uuid=uuid, name="b", site_uuid=SITE, owner_uuid=ALICE, create_date=tx.now))
        tx.insert(Share(uuid="s", resource_uuid=SHARED, account_uuid=BOB))

    await store.write(fill)
    return World(store)


def create(**fields: object) -> CreateBox:
    return CreateBox(**{"name": "b", "site_uuid": SITE, **fields})  # type: ignore[arg-type]


async def test_what_is_there_is_not_missing(world: World) -> None:
    assert await world.missing(create(near=[SITE], like_uuid=BOX), ADMIN) == []
    assert await world.missing(create(like_uuid=BOX), ALICE) == []


async def test_all_that_is_missing_is_told_lists_included(world: World) -> None:
    call = create(site_uuid=MISSING, near=[SITE, "4" * 32], like_uuid="5" * 32)
    assert await world.missing(call, ADMIN) == [
        ("siteUuid", MISSING),
        ("near", "4" * 32),
        ("likeUuid", "5" * 32),
    ]


async def test_what_another_owns_is_missing_and_what_is_shared_can_be_used(world: World) -> None:
    assert await world.missing(create(like_uuid=BOX), BOB) == [("likeUuid", BOX)]
    assert await world.missing(create(like_uuid=SHARED), BOB) == []


async def test_what_is_shared_is_changed_by_its_owner_only(world: World) -> None:
    call = RenameBox(uuid=SHARED, name="n")
    assert await world.missing(call, ALICE) == []
    assert await world.missing(call, ADMIN) == []
    with pytest.raises(CairnError) as caught:
        await world.missing(call, BOB)
    assert caught.value.code == "auth.not-owner"
    assert set(caught.value.fields) == {"uuid"}
    assert await world.missing(RenameBox(uuid=BOX, name="n"), BOB) == [("uuid", BOX)]


def refusal(world: World, call: type[AnyApi], *missing: tuple[str, str]) -> HttpError:
    binding = ApiBinding(call, PATHS)
    return world.references.not_found(binding, [(binding.params[wire], uuid) for wire, uuid in missing])


async def test_what_the_path_names_is_404_and_what_a_field_names_422(world: World) -> None:
    in_path = refusal(world, RenameBox, ("uuid", BOX))
    in_field = refusal(world, CreateBox, ("siteUuid", MISSING), ("likeUuid", BOX))
    assert (in_path.status, in_path.code) == (404, "box.not-found")
    assert (in_field.status, in_field.code) == (422, "site.not-found")
    assert set(in_field.fields) == {"siteUuid", "likeUuid"}
