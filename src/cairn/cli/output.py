"""Prints: tables and records for people, JSON for programs; results to stdout, everything else to stderr.

Names and consoles hold what users and guests wrote. Control characters are taken out, so that none of it can drive the
reader's terminal.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import click
import msgspec

from cairn.cli.client import Job, Json, Watcher
from cairn.cli.errors import Problem
from cairn.cli.schema import Entity

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
#: A pipe has no width; nothing is cut or folded there.
_PIPE_WIDTH = 10_000
#: The fields that tell apart the resources inside another one; ask for those to see the rest.
_BRIEF = ("name", "ip", "mac", "startIp", "endIp", "type", "status", "networkServiceType", "uuid")
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def plain(text: str) -> str:
    """`text` without control characters; line ends and tabs stay."""
    return _CONTROLS.sub("", text)


def console(*, stderr: bool = False) -> Console:
    """The terminal, or a wide plain page if output goes to a file or program."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        stderr=stderr, width=None if stream.isatty() else _PIPE_WIDTH, highlight=False, markup=False, emoji=False
    )


def print_json(value: object) -> None:
    """Print `value` as indented JSON on standard output, for programs."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def say(text: str = "") -> None:
    """Print a line for people that is not a command's result."""
    click.echo(plain(text), err=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Rows under column names, with cells as they are."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, no_wrap=column.lower().endswith("uuid"), overflow="fold")
    for row in rows:
        made.add_row(*(Text(plain(cell)) for cell in row))
    _print(made)


def record(inventory: Mapping[str, object], entity: Entity | None = None) -> None:
    """One resource: a line for each field that has a value."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, show_header=False, pad_edge=False)
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in inventory.items():
        if value not in (None, [], {}, ""):
            made.add_row(Text(name), Text(plain(cell(value, _unit(entity, name)))))
    _print(made)


def _print(made: Table) -> None:
    """Print a table; a pipe gets it without the spaces that fill its lines up."""
    target = console()
    if target.is_terminal:
        target.print(made)
        return
    with target.capture() as captured:
        target.print(made)
    click.echo("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines() if line.strip()), nl=False)


def result(answer: Json, entity: Entity | None = None) -> None:
    """Print the result of a call, whatever its shape; what an answer tells beside its resources comes behind them."""
    if not answer:
        click.echo("done")
        return
    inner, many = answer.get("inventory"), answer.get("inventories")
    shown = {"success"}
    if isinstance(inner, dict):
        shown.add("inventory")
        record(cast("Json", inner), entity)
    elif isinstance(many, list) and all(isinstance(one, dict) for one in many):
        shown.add("inventories")
        rows = cast("list[Json]", many)
        columns = list(dict.fromkeys(key for row in rows for key in row))
        table(columns, ([cell(row.get(column)) for column in columns] for row in rows))
    if beside := {key: value for key, value in answer.items() if key not in shown}:
        record(beside, entity)


def cell(value: object, unit: str = "") -> str:
    """A value as people read it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and unit == "bytes":
        return human_bytes(value)
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        separator = "\n" if any(isinstance(one, dict) for one in value) else ", "
        return separator.join(cell(one) for one in value)
    if isinstance(value, dict):
        brief = {key: value[key] for key in _BRIEF if value.get(key) is not None} or value
        return ", ".join(f"{key}={cell(one)}" for key, one in brief.items() if one not in (None, [], {}))
    return str(value)


def human_bytes(count: int) -> str:
    """A number of bytes with a unit: ``134217728`` as ``128 MiB``."""
    size, unit = float(count), 0
    while abs(size) >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.4g} {_UNITS[unit]}"


def print_problem(problem: Problem, *, as_json: bool = False) -> None:
    """Print an error on stderr: title, sentence, fields, causes, code."""
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode({"error": problem}), indent=2), err=True)
        return
    title = problem.title or problem.code or "Error"
    click.secho(f"{plain(title)}: ", err=True, nl=False, fg="red", bold=True)
    say(problem.detail.replace("\n", "\n  "))
    for name, sentence in problem.fields.items():
        # A query's only field is the condition, of which the detail tells already.
        if sentence not in problem.detail and name != "q":
            say(f"  {name}: {sentence}")
    _say_operators_text(problem)
    cause = problem.cause
    while cause is not None:
        say(f"  because: {cause.detail} [{cause.code}]")
        _say_operators_text(cause)
        cause = cause.cause
    tail = [f"code {problem.code}"] if problem.code else []
    tail += [f"job {problem.job}"] if problem.job else []
    say(f"  ({', '.join(tail)})" if tail else "")


def _say_operators_text(problem: Problem) -> None:
    if problem.operator is not None:
        say(f"  for operators: {problem.operator}".replace("\n", "\n    "))


@contextmanager
def watching(*, silent: bool) -> Iterator[Watcher]:
    """Shows how a job gets on: a bar on a terminal, a line per step elsewhere, nothing when `silent`."""
    if silent:
        yield _unseen
    elif sys.stderr.isatty():
        with _bar() as watcher:
            yield watcher
    else:
        yield _lines(say)


def _unseen(job: Job) -> None:
    """The watcher of a job that nobody looks at."""


def _lines(write: Callable[[str], None]) -> Watcher:
    seen = ""

    def show(job: Job) -> None:
        nonlocal seen
        if job.progress is not None and job.progress.step != seen:
            seen = job.progress.step
            write(f"{job.api}: {seen} ({job.progress.percent} %)")

    return show


@contextmanager
def _bar() -> Iterator[Watcher]:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        line = progress.add_task("sent", total=100)

        def show(job: Job) -> None:
            step = job.progress.step if job.progress else job.state.lower()
            percent = job.progress.percent if job.progress else 0
            progress.update(line, description=plain(step or job.state.lower()), completed=percent)

        yield show


def _unit(entity: Entity | None, name: str) -> str:
    field = entity.by_field.get(name) if entity else None
    return field.unit if field else ""
