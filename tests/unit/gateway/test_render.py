from __future__ import annotations

from typing import cast

import msgspec
from tests.unit.gateway.world import MISSING, RenameBox, ShakeBox, Weight, World

from cairn.gateway.render import body_of, renderer
from cairn.kernel.api import ApiCommand, Reference


async def test_reference_becomes_the_inventory(cloud: World) -> None:
    box = await cloud.box("mine")
    render = renderer(cloud.query)
    message = cast("ApiCommand[object]", RenameBox(uuid=box, name="mine"))

    body = await cloud.store.read(lambda tx: render(tx, message, Reference(uuid=box)))
    gone = await cloud.store.read(lambda tx: render(tx, message, Reference(uuid=MISSING)))

    assert msgspec.json.decode(body)["inventory"]["name"] == "mine"
    assert gone == b"{}"


async def test_reference_of_no_entity_is_shown_as_it_is(cloud: World) -> None:
    render = renderer(cloud.query)
    message = ShakeBox(box_uuid=MISSING)

    body = await cloud.store.read(lambda tx: render(tx, message, Reference(uuid=MISSING)))  # type: ignore[arg-type]

    assert msgspec.json.decode(body) == {"uuid": MISSING}


def test_nothing_is_an_empty_object_and_a_struct_itself() -> None:
    assert body_of(None) == b"{}"
    assert msgspec.json.decode(body_of(Weight(total_grams=5, asked_by=None, seen=[]))) == {
        "totalGrams": 5,
        "askedBy": None,
        "seen": [],
    }
