from __future__ import annotations

from typing import ClassVar, Protocol

import pytest

from cairn.kernel.flow.step import NOTHING, Nothing, TransactionStep
from cairn.kernel.plugin.steps import make_step, offered
from cairn.kernel.store.store import Tx


class Paint(Protocol):
    def color(self) -> str: ...


class Red(Paint):
    def color(self) -> str:
        return "red"


class Blue(Paint):
    def color(self) -> str:
        return "blue"


class Brush:
    pass


class _Step(TransactionStep[Nothing, Nothing]):
    name = "test-steps.paint"
    title = "painting"
    nothing_to_undo: ClassVar[str | None] = "it is a test"

    def do(self, tx: Tx, given: Nothing) -> Nothing:
        return NOTHING


class PaintIt(_Step):
    def __init__(self, paint: Paint, brush: Brush) -> None:
        self.paint = paint
        self.brush = brush


def test_arguments_are_taken_by_their_types() -> None:
    red, brush = Red(), Brush()
    step = make_step(PaintIt, offered([brush, red]))
    assert isinstance(step, PaintIt)
    assert (step.paint, step.brush) == (red, brush)


def test_a_step_that_needs_nothing_is_made_of_nothing() -> None:
    assert isinstance(make_step(_Step, {}), _Step)


def test_of_two_that_share_a_type_neither_stands_for_it() -> None:
    red, blue = Red(), Blue()
    things = offered([red, blue])
    assert Paint not in things
    assert (things[Red], things[Blue]) == (red, blue)


def test_the_same_object_offered_twice_is_one() -> None:
    red = Red()
    assert offered([red, red])[Paint] is red


def test_what_cannot_be_given_is_told_with_what_there_is() -> None:
    with pytest.raises(TypeError, match=r"PaintIt asks for `brush`, a Brush.*there are: .*Red"):
        make_step(PaintIt, offered([Red()]))
