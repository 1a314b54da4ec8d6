from __future__ import annotations

from typing import Annotated, ClassVar, Generic, TypeVar

import msgspec
import pytest
from msgspec import Meta, Struct

from cairn.kernel.bus.message import (
    Command,
    Event,
    Query,
    answer_type,
    decode_message,
    encode_message,
    message_type,
    message_types,
    tag_of,
)
from cairn.kernel.error import CairnError

R = TypeVar("R")


class Painted(Struct, frozen=True):
    coats: int


class PaintWall(Command[Painted], frozen=True, kw_only=True, tag="wall.paint"):
    route: ClassVar[str | None] = "wall"
    wall: str
    coat_number: Annotated[int, Meta(ge=1)] = 1


class WallOrder(Command[R], Generic[R], frozen=True, kw_only=True):
    wall: str


class TearDownWall(WallOrder[None], frozen=True, kw_only=True, tag="wall.tear-down"):
    route: ClassVar[str | None] = "wall"


class WallEvent(Event, frozen=True, kw_only=True):
    abstract: ClassVar[bool] = True
    wall: str


class WallFell(WallEvent, frozen=True, kw_only=True, tag="wall.fell"):
    pass


class AskLater(Query["Later"], frozen=True, kw_only=True, tag="wall.later"):
    pass


class Later(Struct, frozen=True):
    pass


def test_tag_and_answer_type_are_known_of_each_message() -> None:
    assert message_type("wall.paint") is PaintWall
    assert tag_of(PaintWall(wall="w")) == tag_of(PaintWall) == "wall.paint"
    assert answer_type(PaintWall) is Painted
    assert answer_type(TearDownWall) is None
    assert answer_type(AskLater) is Later
    assert answer_type(WallFell) is None
    assert message_types()["wall.fell"] is WallFell


def test_message_survives_encoding_and_uses_camel_case_on_the_wire() -> None:
    message = PaintWall(wall="w", coat_number=2)
    data = encode_message(message)
    assert decode_message(data) == message
    assert msgspec.msgpack.decode(data) == {"@message": "wall.paint", "wall": "w", "coatNumber": 2}


def test_message_without_tag_on_the_wire_decodes_when_its_class_is_known() -> None:
    assert msgspec.json.decode(b'{"wall":"w"}', type=PaintWall) == PaintWall(wall="w")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"@message": "wall.unheard-of"}, "bus.unknown-message"),
        ({"@message": "wall.paint", "color": "red"}, "bus.malformed-message"),
        ({"@message": "wall.paint", "wall": "w", "coatNumber": 0}, "bus.malformed-message"),
        ({"wall": "w"}, "bus.malformed-message"),
    ],
)
def test_what_does_not_fit_is_refused_on_decoding(fields: dict[str, object], code: str) -> None:
    with pytest.raises(CairnError) as caught:
        decode_message(msgspec.msgpack.encode(fields))
    assert caught.value.code == code


def test_fields_of_a_newer_node_are_left_out() -> None:
    newer = {"@message": "wall.paint", "wall": "w", "coatNumber": 2, "color": {"name": "red"}}
    assert decode_message(msgspec.msgpack.encode(newer)) == PaintWall(wall="w", coat_number=2)


def test_missing_tag_fails_at_declaration_and_names_the_class() -> None:
    with pytest.raises(TypeError, match=r"Untagged: its tag is None; declare tag="):

        class Untagged(Command[None], frozen=True, kw_only=True):
            pass


@pytest.mark.parametrize(
    "tag", ["start", "vm.Start", "vm_start", "vm.start now", "vm.", ".start", "vm.start-", "a.b.c"]
)
def test_malformed_tag_fails_at_declaration(tag: str) -> None:
    with pytest.raises(TypeError, match="its tag is"):

        class Malformed(Command[None], frozen=True, kw_only=True, tag=tag):
            pass


def test_tag_of_another_class_fails_at_declaration_and_names_both() -> None:
    with pytest.raises(TypeError, match=r"Other: the tag 'wall.paint' belongs to .*PaintWall"):

        class Other(Command[None], frozen=True, kw_only=True, tag="wall.paint"):
            pass


def test_same_class_imported_again_takes_the_place_of_the_first() -> None:
    def declare() -> type[Event]:
        class Again(Event, frozen=True, kw_only=True, tag="wall.again"):
            pass

        return Again

    declare()
    second = declare()
    assert message_type("wall.again") is second


def test_command_without_answer_type_fails_at_declaration() -> None:
    with pytest.raises(TypeError, match=r"Unanswered: it has no answer type; declare Command\[Answer\]"):

        class Unanswered(Command, frozen=True, kw_only=True, tag="wall.unanswered"):  # type: ignore[type-arg]
            pass


def test_route_that_names_no_field_fails_at_declaration() -> None:
    with pytest.raises(TypeError, match=r"Misrouted: route = 'vm' names no field; its fields are: wall"):

        class Misrouted(Command[None], frozen=True, kw_only=True, tag="wall.misrouted"):
            route: ClassVar[str | None] = "vm"
            wall: str
