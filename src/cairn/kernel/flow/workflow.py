"""Workflows as configuration: which steps an operation takes, where each line came from, and whether it fits.

A service declares the workflow of a call and writes its steps into a TOML file next to it::

    CREATE = workflow(CreateVmInstance)

    [workflow."vm.create"]
    steps = ["vm.record", "vm.claim-host", "vm.start"]

A plugin's or an operator's file changes the list of others::

    [[change]]
    workflow = "vm.create"
    after = "vm.claim-host"          # or: before = …, replace = …, remove = …
    step = "audit.note"              # for after, before and replace

An entry ``flow:volume.create`` stands for all steps of that workflow. The effective list is worked out once at start; each
step must find every field of its input among the parameters and the outputs of earlier steps, with the same type, and the
answer's fields must be there in the end. A list that does not fit is refused with its reason.
"""

from __future__ import annotations

import re
import tomllib
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from cairn.kernel.api import ApiCommand, Reference
from cairn.kernel.bus.message import answer_type, tag_of
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.step import AnyStep, Nothing
from cairn.kernel.store.store import Tx

_INCLUDE = "flow:"
_SENTENCE = re.compile(r"(?<=[.])\s")


P = TypeVar("P", bound=Struct)
A = TypeVar("A", bound=Struct)
M = TypeVar("M", bound=ApiCommand[Any])


class Asked(Struct, Generic[M], frozen=True, kw_only=True):
    """The start of a call's workflow: the call itself, whole. Steps take from it what they need, by these names."""

    uuid: str  #: of the resource that the call is about
    account: str  #: who asked; empty: the cloud itself
    asked: M


class Workflow(Struct, Generic[P, A], frozen=True, kw_only=True):
    """An operation that takes several steps.

    Args:
        name: ``<noun>.<verb>``.
        parameters: the record it starts from; `Asked` of a message, for the workflow of a call.
        answer: what it ends with: a `Reference` to the resource, or `Nothing`.
        doc: what it does, in a sentence.
        message: the call that it is the workflow of; None: it is run by hand.
        queue: the kind of the resource queue that a call takes its turn in: ``vm`` for ``vm:<uuid>``.
        unless: when the call's turn has come, tells whether there is nothing to do.
    """

    name: str
    parameters: type[P]
    answer: type[A]
    doc: str
    message: type[ApiCommand[Any]] | None = None
    queue: str | None = None
    unless: Callable[[Tx, Any], bool] | None = None


AnyWorkflow = Workflow[Any, Any]


def workflow(
    message: type[M],
    *,
    name: str | None = None,
    queue: str | None = None,
    unless: Callable[[Tx, M], bool] | None = None,
) -> Workflow[Asked[M], Any]:
    """The workflow of a call.

    Args:
        message: the call. Its first sentence tells what the workflow does.
        name: by default the message's tag: ``vm.create``.
        queue: by default the tag's noun: ``vm``.
        unless: tells, in the queue, whether there is nothing to do; the call is then answered at once.

    Raises:
        TypeError: the call does not say, in `route`, which resource it is about.
    """
    tag = tag_of(message)
    if message.route is None:
        raise TypeError(
            f"{message.__qualname__}: a workflow runs in the turn of one resource, and this call names none. "
            'Say which field has its uuid: route: ClassVar[str | None] = "uuid"'
        )
    return Workflow(
        name=name or tag,
        parameters=Asked[message],  # type: ignore[valid-type]  # a class that is known at run time only
        answer=Nothing if answer_type(message) is None else Reference,
        doc=_SENTENCE.split(" ".join((message.__doc__ or "").split()), maxsplit=1)[0],
        message=message,
        queue=queue or tag.partition(".")[0],
        unless=unless,
    )


class Entry(Struct, frozen=True, kw_only=True):
    """One line of an effective list."""

    step: str
    origin: str  #: file and what it did: ``services/vm/workflows.toml``, ``site.toml: after vm.start``


class EffectiveWorkflow(Struct, frozen=True, kw_only=True):
    """A workflow with its effective list."""

    workflow: AnyWorkflow
    entries: tuple[Entry, ...]
    steps: tuple[AnyStep, ...]
    types: dict[str, object]  #: field name -> type, of the parameters and all outputs
    undo_order: tuple[int, ...]  #: the steps that have something to undo, by index, in the order of their undos


class _List(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    steps: list[str]


class _Change(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    workflow: str
    step: str | None = None
    after: str | None = None
    before: str | None = None
    replace: str | None = None
    remove: str | None = None


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    workflow: dict[str, _List] = {}
    change: list[_Change] = []


class WorkflowSource(Struct, frozen=True, kw_only=True):
    """The text of a workflow file, and the name that people know the file by."""

    name: str
    text: str


def read_source(path: Path, name: str | None = None) -> WorkflowSource:
    """The file at `path`; `name` is shown instead of its path."""
    return WorkflowSource(name=name or str(path), text=path.read_text(encoding="utf-8"))


def _wrong(source: str, message: str) -> CairnError:
    return CairnError("workflow.wrong-list", f"{source}: {message}", kind=ErrorKind.INVALID)


def _parse(source: WorkflowSource) -> _File:
    try:
        return msgspec.convert(tomllib.loads(source.text), _File)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise _wrong(source.name, f"this is not a workflow file: {error}") from error


class WorkflowBook:
    """All workflows of a node with their effective lists.

    Args:
        workflows: what services and plugins declared.
        steps: every step there is.
        sources: workflow files, the owners' first, then plugins', then the operator's; later ones change earlier ones.

    Raises:
        CairnError: ``workflow.wrong-list`` with file, workflow, step and reason.
    """

    def __init__(
        self, workflows: Iterable[AnyWorkflow], steps: Iterable[AnyStep], sources: Iterable[WorkflowSource]
    ) -> None:
        self._workflows: dict[str, AnyWorkflow] = {}
        for workflow in workflows:
            if workflow.name in self._workflows:
                raise _wrong(workflow.name, "this workflow is declared twice")
            self._workflows[workflow.name] = workflow
        self._steps: dict[str, AnyStep] = {}
        for step in steps:
            if step.name in self._steps:
                raise _wrong(type(step).__module__, f"the step name {step.name!r} is used twice")
            self._steps[step.name] = step
        self._lists: dict[str, list[Entry]] = {}
        parsed = [(source.name, _parse(source)) for source in sources]
        for name, file in parsed:
            self._take_lists(name, file.workflow)
        for name, file in parsed:
            for change in file.change:
                self._apply(name, change)
        for workflow in self._workflows.values():
            if workflow.name not in self._lists:
                raise _wrong(workflow.name, "this workflow is declared, but no workflow file lists its steps")
        self._effective = {name: self._work_out(workflow) for name, workflow in self._workflows.items()}

    def names(self) -> list[str]:
        """The names of all workflows, sorted."""
        return sorted(self._effective)

    def effective(self, name: str) -> EffectiveWorkflow:
        """The workflow's effective list (``workflow.not-found``, with the names there are)."""
        try:
            return self._effective[name]
        except KeyError:
            raise CairnError(
                "workflow.not-found",
                f"There is no workflow {name!r}. There are: {', '.join(self.names())}.",
                kind=ErrorKind.NOT_FOUND,
            ) from None

    def step(self, name: str) -> AnyStep:
        """The step of that name; a journal may name one that was taken away since (``workflow.step-gone``)."""
        try:
            return self._steps[name]
        except KeyError:
            raise step_gone(name) from None

    def _take_lists(self, source: str, lists: Mapping[str, _List]) -> None:
        for name, steps in lists.items():
            if name not in self._workflows:
                raise _wrong(source, f"no package declares the workflow {name!r}")
            if name in self._lists:
                raise _wrong(source, f"the steps of {name!r} are listed already, by {self._lists[name][0].origin}")
            self._lists[name] = [Entry(step=step, origin=source) for step in steps.steps]

    def _apply(self, source: str, change: _Change) -> None:
        entries = self._lists.get(change.workflow)
        if entries is None:
            raise _wrong(source, f"there is no workflow {change.workflow!r} to change")
        verbs = {verb: at for verb in ("after", "before", "replace", "remove") if (at := getattr(change, verb))}
        if len(verbs) != 1 or (change.step is None) != ("remove" in verbs):
            raise _wrong(
                source,
                f"a change of {change.workflow!r} needs exactly one of after, before, replace (each with `step`) or remove",
            )
        ((verb, at),) = verbs.items()
        places = [index for index, entry in enumerate(entries) if entry.step == at]
        if not places:
            found = ", ".join(entry.step for entry in entries)
            raise _wrong(source, f"{change.workflow!r} has no step {at!r} to {verb}; it has: {found}")
        index = places[0]
        new = [] if change.step is None else [Entry(step=change.step, origin=f"{source}: {verb} {at}")]
        start, end = {"after": (index + 1, index + 1), "before": (index, index)}.get(verb, (index, index + 1))
        entries[start:end] = new

    def _expand(self, name: str, within: tuple[str, ...] = ()) -> list[Entry]:
        if name in within:
            raise _wrong(name, f"the workflow includes itself: {' > '.join((*within, name))}")
        if name not in self._lists:
            raise _wrong(within[-1] if within else name, f"there is no workflow {name!r} to include")
        result: list[Entry] = []
        for entry in self._lists[name]:
            if entry.step.startswith(_INCLUDE):
                inner = self._expand(entry.step.removeprefix(_INCLUDE), (*within, name))
                result += [Entry(step=e.step, origin=f"{entry.origin} > {e.origin}") for e in inner]
            else:
                result.append(entry)
        return result

    def _work_out(self, workflow: AnyWorkflow) -> EffectiveWorkflow:
        entries = tuple(self._expand(workflow.name))
        if not entries:
            raise _wrong(workflow.name, "the list of steps is empty")
        parameters: type[Struct] = workflow.parameters
        known = dict(types_of(parameters))
        steps: list[AnyStep] = []
        for entry in entries:
            step = self._steps.get(entry.step)
            if step is None:
                raise _wrong(
                    entry.origin, f"{workflow.name!r} names the step {entry.step!r}, which no package provides"
                )
            _check(workflow.name, entry, step.name, step.input, known)
            for field, kind in types_of(step.output).items():
                if field in known:
                    raise _wrong(
                        entry.origin, f"in {workflow.name!r}, {step.name} gives `{field}`, which is there already"
                    )
                known[field] = kind
            steps.append(step)
        _check(workflow.name, entries[-1], "the answer", workflow.answer, known)
        return EffectiveWorkflow(
            workflow=workflow, entries=entries, steps=tuple(steps), types=known, undo_order=undo_order(steps)
        )


def undo_order(steps: Sequence[AnyStep]) -> tuple[int, ...]:
    """The steps that have something to undo, by index, in the order of their undos: the last one first."""
    return tuple(index for index in reversed(range(len(steps))) if steps[index].nothing_to_undo is None)


def step_gone(name: str) -> CairnError:
    """``workflow.step-gone``: a run that was under way needs a step whose plugin was taken out."""
    return CairnError(
        "workflow.step-gone",
        f"A workflow that was under way needs the step {name!r}, which no plugin provides now. "
        "Put the plugin back and start again, or settle the run.",
        kind=ErrorKind.CONFLICT,
        details={"step": name},
    )


def conclusion(answer: Struct) -> Struct | None:
    """The answer of the job of a workflow's call: the resource, or None where the workflow ends with `Nothing`."""
    return answer if answer.__struct_fields__ else None


@cache
def types_of(record: type[Struct]) -> Mapping[str, object]:
    """The types of a record's fields, by name; of a generic record, `Asked[CreateVmInstance]`, those that it was given."""
    return {field.name: _plain(field.type) for field in msgspec.structs.fields(record)}


def _plain(kind: object) -> object:
    """A type without its markers, at whatever depth."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _plain(inner[0])
    plain = tuple(_plain(one) for one in inner)
    if plain == inner or origin is None:
        return kind
    return typing.Union[plain] if _is_union(kind) else origin[plain]  # noqa: UP007 (built at run time)


@cache
def _required(record: type[Struct]) -> frozenset[str]:
    return frozenset(field.name for field in msgspec.structs.fields(record) if field.required)


def _check(workflow: str, entry: Entry, who: str, record: type[Struct], known: Mapping[str, object]) -> None:
    needed = _required(record)
    for field, kind in types_of(record).items():
        if field not in known:
            if field in needed:
                raise _wrong(
                    entry.origin,
                    f"in {workflow!r}, {who} needs `{field}`, which neither the parameters nor an earlier step gives; "
                    f"there is: {', '.join(sorted(known)) or 'nothing'}",
                )
        elif not _fits(known[field], kind):
            raise _wrong(
                entry.origin,
                f"in {workflow!r}, {who} needs `{field}` as {_show(kind)}, but it comes as {_show(known[field])}",
            )


def _fits(given: object, wanted: object) -> bool:
    """Whether a value of type `given` can be passed where `wanted` is asked for.

    `given` may be the same type, a subclass, one of a union, a NewType of `wanted`, or a container whose parts fit. Records never
    change, so a container of something narrower fits as well.
    """
    if given == wanted:
        return True
    if _is_union(given):
        return all(_fits(kind, wanted) for kind in typing.get_args(given))
    if _is_union(wanted):
        return any(_fits(given, kind) for kind in typing.get_args(wanted))
    if isinstance(given, typing.NewType):
        return _fits(given.__supertype__, wanted)
    origin = typing.get_origin(given)
    if origin is not None:
        return origin is typing.get_origin(wanted) and _all_fit(typing.get_args(given), typing.get_args(wanted))
    return isinstance(given, type) and isinstance(wanted, type) and issubclass(given, wanted)


def _all_fit(given: Sequence[object], wanted: Sequence[object]) -> bool:
    return len(given) == len(wanted) and all(_fits(one, other) for one, other in zip(given, wanted, strict=True))


def _is_union(kind: object) -> bool:
    return typing.get_origin(kind) is typing.Union or type(kind).__name__ == "UnionType"


def _show(kind: object) -> str:
    """``list[str]``, not ``list``: what differs may be inside."""
    inner = typing.get_args(kind)
    return str(kind) if inner else getattr(kind, "__name__", str(kind))
