from __future__ import annotations

from typing import ClassVar

import pytest
from tests.unit.gateway.world import MISSING, CreateBox, DeleteBox

from cairn.gateway.binding import ApiBinding
from cairn.kernel.api import ApiCommand, Http, Uuid, action, post
from cairn.kernel.error import CairnError


class AttachBox(ApiCommand[None], frozen=True, kw_only=True, tag="test-binding.attach"):
    """A creation without a key, as some have been declared."""

    http: ClassVar[Http] = Http(verb="POST", path="/boxes/{boxUuid}/sites/{siteUuid}")

    box_uuid: Uuid
    site_uuid: Uuid
    tight: bool = False


class Keyless(ApiCommand[None], frozen=True, kw_only=True, tag="test-binding.keyless"):
    http: ClassVar[Http] = Http(verb="PUT", path="/keyless")


def test_what_stands_behind_a_collection_refers_to_its_entity() -> None:
    binding = ApiBinding(AttachBox, {"/boxes": "Box", "/sites": "Site"})

    assert [(param.wire, param.refers) for param in binding.references] == [("boxUuid", "Box")]
    assert binding.changed is binding.params["boxUuid"]
    assert ApiBinding(DeleteBox, {"/boxes": "Box"}).changed is not None
    assert ApiBinding(CreateBox, {"/boxes": "Box"}).changed is None


def test_path_wins_over_body_and_creation_without_key_takes_params() -> None:
    binding = ApiBinding(AttachBox)

    message = binding.of_body({"params": {"boxUuid": "x", "tight": True}}, [MISSING, "a" * 32])

    assert message == AttachBox(box_uuid=MISSING, site_uuid="a" * 32, tight=True)


def test_tags_are_refused_by_an_api_without_tags() -> None:
    with pytest.raises(CairnError) as caught:
        ApiBinding(AttachBox).of_body({"systemTags": ["a::b"]}, [MISSING, MISSING])

    assert [*caught.value.fields] == ["systemTags"]


def test_put_without_key_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="Keyless: PUT needs a key"):
        ApiBinding(Keyless)
    assert post("/x").key == "params"
    assert action("/x", "go").key == "go"


class TurnBox(ApiCommand[None], frozen=True, kw_only=True, tag="test-binding.turn"):
    http: ClassVar[Http] = action("/boxes/{shelf}/{name}/actions", "turnBox")

    shelf: str
    name: str


def test_what_stands_behind_a_collection_and_is_no_uuid_refers_to_nothing() -> None:
    assert ApiBinding(TurnBox, {"/boxes": "Box"}).references == ()


def test_each_wrong_field_is_told_on_a_line_of_its_own_in_the_order_of_the_call() -> None:
    with pytest.raises(CairnError) as caught:
        ApiBinding(AttachBox).of_body({"params": {"tigt": True, "boxes": 1, "tight": "maybe"}}, [MISSING, MISSING])
    first, *lines = caught.value.message.split("\n")
    assert first == "AttachBox was refused, and nothing was done."
    assert [line.split(":")[0] for line in lines] == ["tigt", "boxes", "tight"]
    assert lines[0] == "tigt: unknown; did you mean tight?"
