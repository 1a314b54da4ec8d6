from __future__ import annotations

from typing import ClassVar

import pytest

from cairn.kernel.admission import check_call
from cairn.kernel.api import ApiCommand, ApiCreate, Http, action, post
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import RandomIds
from cairn.kernel.tag import TagDefinition, Tags

COLOR = TagDefinition(
    "color::{color}", "Box", doc="of the box", check=lambda values: None if values["color"] == "red" else "not red"
)
TAGS = Tags(RandomIds(seed=1), [COLOR])


class MakeBox(ApiCreate, frozen=True, kw_only=True, tag="test-admission.make"):
    """Make a box."""

    http: ClassVar[Http] = post("/boxes")
    entity: ClassVar[str | None] = "Box"

    width: int = 1

    def check(self) -> None:
        if self.width > 10:
            raise CairnError("box.too-wide", "width", kind=ErrorKind.INVALID, fields={"width": "found 11"})


class PaintBox(ApiCommand[None], frozen=True, kw_only=True, tag="test-admission.paint"):
    """Paint a box."""

    http: ClassVar[Http] = action("/boxes/{uuid}/actions", "paintBox")
    uuid: str = "box"

    def check_for_account(self) -> None:
        raise CairnError("box.admin-only", "uuid", kind=ErrorKind.FORBIDDEN)


def test_a_call_whose_fields_and_tags_fit_is_let_in() -> None:
    check_call(MakeBox(width=10, system_tags=["color::red"]), TAGS)
    check_call(PaintBox(), TAGS)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (MakeBox(width=11), "box.too-wide"),
        (MakeBox(system_tags=["size::big"]), "tag.unknown"),
        (MakeBox(system_tags=["color::blue"]), "tag.bad-value"),
    ],
)
def test_a_call_that_can_never_succeed_is_refused(call: MakeBox, code: str) -> None:
    with pytest.raises(CairnError) as caught:
        check_call(call, TAGS)
    assert (caught.value.code, caught.value.kind) == (code, ErrorKind.INVALID)


def test_what_only_administrators_may_ask_for_is_refused_to_others() -> None:
    check_call(PaintBox(), TAGS, by_admin=True)
    check_call(MakeBox(), TAGS, by_admin=False)
    with pytest.raises(CairnError) as caught:
        check_call(PaintBox(), TAGS, by_admin=False)
    assert caught.value.code == "box.admin-only"


def test_what_the_call_says_of_itself_comes_before_its_tags() -> None:
    with pytest.raises(CairnError) as caught:
        check_call(MakeBox(width=11, system_tags=["size::big"]), TAGS)
    assert caught.value.code == "box.too-wide"
