from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar, NewType

import pytest
from msgspec import Meta, Struct, defstruct

from cairn.kernel.api import ApiCommand, ApiDelete, Http, Uuid, action, delete
from cairn.kernel.error import CairnError
from cairn.kernel.flow.step import ActionStep, AnyStep, Nothing
from cairn.kernel.flow.workflow import (
    AnyWorkflow,
    EffectiveWorkflow,
    Workflow,
    WorkflowBook,
    WorkflowSource,
    read_source,
    workflow,
)

ThingId = NewType("ThingId", str)


class Kind(StrEnum):
    GOOD = "Good"


class Start(Struct, frozen=True, kw_only=True):
    meta: ClassVar[str] = "no field"

    thing: ThingId
    kind: Kind
    note: str | None
    sizes: list[Annotated[int, Meta(ge=1)]]


class End(Struct, frozen=True, kw_only=True):
    thing: ThingId


def step(name: str, needs: dict[str, object] | None = None, gives: dict[str, object] | None = None) -> AnyStep:
    def record(fields: dict[str, object] | None) -> type[Struct]:
        return defstruct("R", list((fields or {}).items()), frozen=True, kw_only=True)

    members = {
        "name": name,
        "title": name,
        "nothing_to_undo": "nothing is done",
        "input": record(needs),
        "output": record(gives),
    }
    made: AnyStep = type("S", (_Bare,), members)()
    return made


class _Bare(ActionStep[Nothing, Nothing]):
    name = "test.bare"
    title = "bare"
    nothing_to_undo: ClassVar[str | None] = "nothing is done"


def flow(name: str = "thing.make") -> AnyWorkflow:
    return Workflow(name=name, parameters=Start, answer=End, doc="Makes a thing.")


STEPS = [step("a.one"), step("a.two", {"thing": ThingId}, {"size": int}), step("a.three"), step("b.extra")]
LIST = '[workflow."thing.make"]\nsteps = ["a.one", "a.two", "a.three"]'


def book(*texts: str, steps: list[AnyStep] | None = None, workflows: list[AnyWorkflow] | None = None) -> WorkflowBook:
    names = ["services/thing/workflows.toml", "site.toml", "late.toml"]
    sources = [WorkflowSource(name=name, text=text) for name, text in zip(names, texts, strict=False)]
    return WorkflowBook(workflows or [flow()], STEPS if steps is None else steps, sources)


def listed(effective: EffectiveWorkflow) -> list[str]:
    return [entry.step for entry in effective.entries]


def change(verb: str, at: str, new: str | None = "b.extra", workflow: str = "thing.make") -> str:
    line = "" if new is None else f'step = "{new}"'
    return f'[[change]]\nworkflow = "{workflow}"\n{verb} = "{at}"\n{line}'


def test_list_is_in_the_order_of_the_file_and_knows_its_origin() -> None:
    effective = book(LIST).effective("thing.make")

    assert listed(effective) == ["a.one", "a.two", "a.three"]
    assert [one.name for one in effective.steps] == listed(effective)
    assert {entry.origin for entry in effective.entries} == {"services/thing/workflows.toml"}
    assert effective.types["size"] is int


@pytest.mark.parametrize(
    ("verb", "new", "expected"),
    [
        ("after", "b.extra", ["a.one", "a.two", "b.extra", "a.three"]),
        ("before", "b.extra", ["a.one", "b.extra", "a.two", "a.three"]),
        ("replace", "b.extra", ["a.one", "b.extra", "a.three"]),
        ("remove", None, ["a.one", "a.three"]),
    ],
)
def test_change_puts_a_step_where_it_says(verb: str, new: str | None, expected: list[str]) -> None:
    effective = book(LIST, change(verb, "a.two", new)).effective("thing.make")

    assert listed(effective) == expected
    origins = {entry.step: entry.origin for entry in effective.entries}
    assert new is None or origins["b.extra"] == f"site.toml: {verb} a.two"


def test_later_files_change_what_earlier_ones_made() -> None:
    made = book(LIST, change("after", "a.three"), change("remove", "b.extra", None))

    assert listed(made.effective("thing.make")) == ["a.one", "a.two", "a.three"]


def test_included_workflow_stands_for_its_steps_with_the_changes_made_to_it() -> None:
    inner = '[workflow."part.make"]\nsteps = ["a.two"]'
    outer = '[workflow."thing.make"]\nsteps = ["a.one", "flow:part.make"]'

    made = book(
        f"{outer}\n{inner}", change("after", "a.two", workflow="part.make"), workflows=[flow(), flow("part.make")]
    )

    effective = made.effective("thing.make")
    assert listed(effective) == ["a.one", "a.two", "b.extra"]
    assert effective.entries[2].origin == "services/thing/workflows.toml > site.toml: after a.two"
    assert made.names() == ["part.make", "thing.make"]


def test_unknown_names_are_answered_with_what_there_is() -> None:
    made = book(LIST)

    with pytest.raises(CairnError, match=r"There are: thing\.make.*workflow\.not-found"):
        made.effective("thing.mak")
    with pytest.raises(CairnError, match=r"'gone'.*workflow\.step-gone"):
        made.step("gone")
    assert made.step("a.one").name == "a.one"


def test_source_is_shown_by_its_path_unless_named(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(LIST)

    assert read_source(path) == WorkflowSource(name=str(path), text=LIST)
    assert read_source(path, "x").name == "x"


REFUSED = {
    "no TOML": (("[workflow",), "services/thing/workflows.toml: this is not a workflow file"),
    "unknown key": (('[workflow."thing.make"]\nstep = []',), "this is not a workflow file"),
    "undeclared": ((LIST.replace("thing.make", "thing.mk"),), "no package declares the workflow 'thing.mk'"),
    "listed twice": ((LIST, LIST), "site.toml: the steps of 'thing.make' are listed already, by services/thing"),
    "not listed": (("",), "thing.make: this workflow is declared, but no workflow file lists its steps"),
    "empty": (('[workflow."thing.make"]\nsteps = []',), "the list of steps is empty"),
    "unknown step": ((LIST.replace("a.one", "a.on"),), "names the step 'a.on', which no package provides"),
    "change of nothing": ((LIST, change("after", "a.one", workflow="x")), "there is no workflow 'x' to change"),
    "change at nothing": (
        (LIST, change("after", "x")),
        "site.toml: 'thing.make' has no step 'x' to after; it has: a.one, a.two, a.three",
    ),
    "two verbs": ((LIST, change("after", "a.one") + '\nbefore = "a.two"'), "needs exactly one of"),
    "no verb": ((LIST, '[[change]]\nworkflow = "thing.make"\nstep = "b.extra"'), "needs exactly one of"),
    "remove with step": ((LIST, change("remove", "a.one")), "needs exactly one of"),
    "after without step": ((LIST, change("after", "a.one", None)), "needs exactly one of"),
    "include of nothing": ((LIST.replace("a.one", "flow:x"),), "there is no workflow 'x' to include"),
    "include of itself": (
        (LIST.replace("a.one", "flow:thing.make"),),
        "the workflow includes itself: thing.make > thing.make",
    ),
    "given twice": ((LIST, change("after", "a.two", "a.two")), "a.two gives `size`, which is there already"),
}


@pytest.mark.parametrize(("texts", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_wrong_list_is_refused_with_its_reason(texts: tuple[str, ...], reason: str) -> None:
    with pytest.raises(CairnError) as caught:
        book(*texts)

    assert caught.value.code == "workflow.wrong-list"
    assert reason in caught.value.message


def test_names_used_twice_are_refused() -> None:
    with pytest.raises(CairnError, match=r"step name .a\.one. is used twice"):
        book(LIST, steps=[*STEPS, step("a.one")])
    with pytest.raises(CairnError, match="declared twice"):
        book(LIST, workflows=[flow(), flow()])


def test_missing_input_is_refused_with_what_there_is() -> None:
    with pytest.raises(CairnError, match=r"a.one needs `host`, which neither .* there is: kind, note, sizes, thing"):
        book(LIST, steps=[step("a.one", {"host": str}), *STEPS[1:]])


def test_output_of_a_later_step_is_no_input() -> None:
    with pytest.raises(CairnError, match="needs `size`"):
        book(LIST, steps=[step("a.one", {"size": int}), *STEPS[1:]])


def test_missing_answer_is_refused() -> None:
    answer = defstruct("Answer", [("made", str)], frozen=True, kw_only=True)
    wrong: AnyWorkflow = Workflow(name="thing.make", parameters=Start, answer=answer, doc="x")

    with pytest.raises(CairnError, match="the answer needs `made`"):
        book(LIST, workflows=[wrong])


def test_input_with_a_default_may_be_missing() -> None:
    optional = defstruct("R", [("host", str, "none")], frozen=True, kw_only=True)
    one: AnyStep = type("S", (_Bare,), {"name": "a.one", "input": optional})()

    assert listed(book(LIST, steps=[one, *STEPS[1:]]).effective("thing.make"))


FITTING = [
    ("thing", ThingId),
    ("thing", str),
    ("thing", str | int),
    ("thing", ThingId | None),
    ("kind", Kind),
    ("kind", str),
    ("note", str | None),
    ("note", int | str | None),
    ("sizes", list[int]),
    ("sizes", list[int] | None),
    ("sizes", list[int | str]),
]
UNFITTING = [
    ("thing", int),
    ("note", str),
    ("sizes", list[str]),
    ("sizes", dict[str, int]),
    ("sizes", tuple[int, ...]),
    ("kind", NewType("Other", str)),
]


@pytest.mark.parametrize(("field", "kind"), FITTING)
def test_fitting_type_is_taken(field: str, kind: object) -> None:
    book(LIST, steps=[step("a.one", {field: kind}), *STEPS[1:]])


@pytest.mark.parametrize(("field", "kind"), UNFITTING)
def test_unfitting_type_is_refused(field: str, kind: object) -> None:
    with pytest.raises(CairnError, match=f"a.one needs `{field}` as .* but it comes as "):
        book(LIST, steps=[step("a.one", {field: kind}), *STEPS[1:]])


def test_types_that_differ_inside_are_told_whole() -> None:
    with pytest.raises(CairnError, match=r"as list\[str\], but it comes as list\[int\]"):
        book(LIST, steps=[step("a.one", {"sizes": list[str]}), *STEPS[1:]])


class Tidy(ApiCommand[None], frozen=True, kw_only=True, tag="test-tidy.all"):
    http: ClassVar[Http] = action("/tidy", "tidy")


class Drop(ApiDelete, frozen=True, kw_only=True, tag="test-tidy.drop"):
    http: ClassVar[Http] = delete("/tidy/{uuid}")

    uuid: Uuid


def test_call_that_names_no_resource_has_no_turn_for_a_workflow() -> None:
    with pytest.raises(TypeError, match=r"Tidy: a workflow runs in the turn of one resource, .* route: ClassVar"):
        workflow(Tidy)


def test_deletion_is_routed_by_its_uuid_without_being_told() -> None:
    assert (Drop.route, workflow(Drop).queue) == ("uuid", "test-tidy")
