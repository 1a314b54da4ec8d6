from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

import pytest

from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.store.store import Tx

K = TypeVar("K")


class Mixin(Generic[K]):
    """Something generic that is no step."""


def test_types_are_read_from_the_declaration() -> None:
    class Works(TransactionStep[Nothing, Nothing]):
        name = "test.works"
        title = "working"
        nothing_to_undo: ClassVar[str | None] = "it does nothing"

        def do(self, tx: Tx, given: Nothing) -> Nothing:
            return NOTHING

    assert (Works.input, Works.output) == (Nothing, Nothing)


def test_types_are_found_behind_another_generic_base() -> None:
    class Works(Mixin[int], ActionStep[Nothing, Nothing]):
        name = "test.mixed"
        title = "working"
        nothing_to_undo: ClassVar[str | None] = "it does nothing"

    assert Works.input is Nothing


def test_step_without_name_is_refused() -> None:
    with pytest.raises(TypeError, match="Lacks has no `name`"):

        class Lacks(ActionStep[Nothing, Nothing]):
            title = "lacking"
            nothing_to_undo: ClassVar[str | None] = "nothing"


def test_step_without_title_is_refused() -> None:
    with pytest.raises(TypeError, match="Lacks has no `title`"):

        class Lacks(ActionStep[Nothing, Nothing]):
            name = "test.lacks"
            nothing_to_undo: ClassVar[str | None] = "nothing"


def test_step_without_undo_and_without_reason_is_refused() -> None:
    with pytest.raises(TypeError, match="must either define `undo` or say"):

        class Lacks(ActionStep[Nothing, Nothing]):
            name = "test.lacks"
            title = "lacking"


def test_step_with_undo_and_a_reason_against_it_is_refused() -> None:
    with pytest.raises(TypeError, match="must either define `undo` or say"):

        class Both(ActionStep[Nothing, Nothing]):
            name = "test.both"
            title = "both"
            nothing_to_undo: ClassVar[str | None] = "nothing"

            async def undo(self, given: Nothing, made: Nothing | None) -> None:
                """Contradicts."""
