from __future__ import annotations

from typing import ClassVar

import pytest
from msgspec import Struct

from cairn.kernel.flow.reach import entry_can_wait, reached
from cairn.kernel.flow.step import ActionStep, AnyStep, Nothing, TransactionStep


class Image(Struct, frozen=True, kw_only=True):
    image: str = ""


class Write(TransactionStep[Nothing, Nothing]):
    name, title = "write", "writing"
    nothing_to_undo: ClassVar[str | None] = "it is a test"


class Fetch(ActionStep[Nothing, Image]):
    name, title = "fetch", "fetching"
    nothing_to_undo: ClassVar[str | None] = "it is a test"


class Boot(ActionStep[Image, Nothing]):
    name, title = "boot", "booting"

    async def undo(self, given: Image, made: Nothing | None) -> None:
        """Nothing."""


class Serve(ActionStep[Nothing, Nothing]):
    name, title = "serve", "serving"

    async def undo(self, given: Nothing, made: Nothing | None) -> None:
        """Nothing."""


WRITE, FETCH, BOOT, SERVE = Write(), Fetch(), Boot(), Serve()


@pytest.mark.parametrize(
    ("steps", "noted", "position", "can"),
    [
        ([SERVE, SERVE], 0, 1, True),  # its undo needs nothing that is not noted
        ([FETCH, BOOT], 0, 1, False),  # its undo needs the image
        ([FETCH, SERVE, BOOT], 0, 2, False),
        ([FETCH, SERVE, BOOT], 1, 2, True),  # the image is noted
        ([SERVE, FETCH], 0, 1, True),
        ([SERVE, WRITE], 0, 1, True),
        ([SERVE], 0, 1, False),  # the end is written
    ],
)
def test_entry_can_wait_unless_the_next_undo_needs_what_is_not_noted(
    steps: list[AnyStep], noted: int, position: int, can: bool
) -> None:
    assert entry_can_wait(steps, noted, position) is can


@pytest.mark.parametrize(
    ("steps", "noted", "count"),
    [
        ([WRITE, SERVE, SERVE, WRITE, SERVE], 1, 3),  # a transaction makes an entry
        ([FETCH, BOOT, SERVE], 0, 1),  # an entry is made before the boot
        ([FETCH, BOOT, SERVE], 1, 3),
        ([WRITE, SERVE], 0, 0),
        ([SERVE], 1, 1),
    ],
)
def test_what_may_have_been_begun_since_the_last_entry(steps: list[AnyStep], noted: int, count: int) -> None:
    assert reached(steps, noted) == count
