"""``cairn bench mixed``: a steady day of a cloud, in which VMs are made, stopped, started, changed, removed, and asked for."""

from __future__ import annotations

import random
import sys
import time
import uuid
from collections.abc import Iterator
from urllib.parse import urlencode

import click
import uvloop
from msgspec import Struct

from cairn.cli import output
from cairn.cli.bench.creation import Template
from cairn.cli.bench.gauge import Process
from cairn.cli.bench.load import Call, Ended, Load, remove, times
from cairn.cli.bench.measuring import Cloud, Measuring, check_files, errors, milliseconds, show
from cairn.cli.bench.template import template_of
from cairn.cli.context import Context, common, pass_context
from cairn.cli.errors import Exit, usage
from cairn.cli.up.api import ClientApi

#: of a hundred calls so many are of a kind; what has no VM to do it with is a creation
WEIGHTS = {"create": 15, "stop": 10, "start": 10, "reboot": 5, "update": 10, "destroy": 8, "expunge": 7, "query": 35}
_RUNNING, _STOPPED, _DESTROYED = "Running", "Stopped", "Destroyed"
#: kind -> in which state a VM has to be for it, and in which it is afterwards
_MOVES = {
    "stop": (_RUNNING, _STOPPED),
    "start": (_STOPPED, _RUNNING),
    "reboot": (_RUNNING, _RUNNING),
    "update": (_RUNNING, _RUNNING),
    "destroy": (_STOPPED, _DESTROYED),
    "expunge": (_DESTROYED, None),
}


class Kind(Struct, frozen=True, kw_only=True):
    """How the calls of a kind fared."""

    kind: str
    calls: int
    failed: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None


class Mixed(Struct, frozen=True, kw_only=True):
    """The result of a run."""

    calls: int
    failed: int
    concurrency: int
    largest_in_flight: int
    broken_connections: int
    wall_seconds: float
    calls_per_second: float
    kinds: list[Kind]
    errors: dict[str, int]  #: code -> how often
    seed: int
    left: int  #: VMs that could not be removed
    cloud: Cloud  #: afterwards
    processes: list[Process]


class Day:
    """Chooses calls by their weights, for VMs that nothing else is being done to.

    Args:
        template: of the VMs.
        count: how many calls.
        weights: kind -> how often, in any unit.
        seed: another one is another day.
    """

    def __init__(self, template: Template, count: int, weights: dict[str, int], seed: int) -> None:
        self._template = template
        self._count = count
        self._kinds, self._weights = list(weights), list(weights.values())
        self._chance = random.Random(seed)  # noqa: S311 (no secret)
        self._number = 0
        #: state -> VMs that are in it, and free
        self._free: dict[str, list[str]] = {state: [] for state in (_RUNNING, _STOPPED, _DESTROYED)}
        self.vms: set[str] = set()  #: that are there, whatever their state

    def calls(self) -> Iterator[Call]:
        """The calls of the day; each is chosen when it is taken."""
        for _ in range(self._count):
            yield self._choose()

    def ended(self, one: Ended) -> None:
        """A call has ended: its VM is free for others. One whose call has failed is left alone."""
        if one.kind == "create":
            after: str | None = _RUNNING
            if one.error is None:
                self.vms.add(one.subject)
        else:
            after = _MOVES[one.kind][1] if one.kind in _MOVES else None
        if one.kind == "expunge" and one.error is None:
            self.vms.discard(one.subject)
        if after is not None and one.error is None:
            self._free[after].append(one.subject)

    def _choose(self) -> Call:
        kind = self._chance.choices(self._kinds, self._weights)[0]
        if kind == "query":
            return self._query()
        if kind in _MOVES:
            free = self._free[_MOVES[kind][0]]
            if free:
                index = self._chance.randrange(len(free))
                free[index], free[-1] = free[-1], free[index]
                return _change(kind, free.pop())
        return self._creation()

    def _creation(self) -> Call:
        self._number += 1
        vm = uuid.uuid4().hex
        params = {
            "name": f"{self._template.prefix}-{self._number:05}",
            "imageUuid": self._template.image,
            "l3NetworkUuids": [self._template.network],
            "instanceOfferingUuid": self._template.offering,
            "resourceUuid": vm,
        }
        return Call(
            kind="create",
            verb="POST",
            target="/v1/vm-instances",
            body={"params": params},
            subject=vm,
            job=uuid.uuid4().hex,
        )

    def _query(self) -> Call:
        conditions = self._chance.choice(
            (
                [f"name~={self._template.prefix}-%"],
                ["state=Running"],
                [f"vmNics.l3NetworkUuid={self._template.network}"],
            )
        )
        query = urlencode([*(("q", one) for one in conditions), ("sort", "-createDate"), ("limit", "20")])
        return Call(kind="query", verb="GET", target=f"/v1/vm-instances?{query}")


def _change(kind: str, vm: str) -> Call:
    place, job = f"/v1/vm-instances/{vm}", uuid.uuid4().hex
    if kind == "destroy":
        return Call(kind=kind, verb="DELETE", target=place, subject=vm, job=job)
    given = {"description": "changed in the course of the day"} if kind == "update" else {}
    body = {f"{kind}VmInstance": given}
    return Call(kind=kind, verb="PUT", target=f"{place}/actions", body=body, subject=vm, job=job)


def _weights(context: click.Context, option: click.Parameter, words: tuple[str, ...]) -> dict[str, int]:
    given = dict(WEIGHTS)
    for word in words:
        kind, _, number = word.partition("=")
        if kind not in given or not number.isdecimal() or int(number) > 1_000_000:
            raise usage(
                f"--weight: found {word!r}; KIND=NUMBER fits, with one of {', '.join(given)} and a whole number up to 1000000.",
                code="bench.bad-weight",
            )
        given[kind] = int(number)
    if not any(given.values()):
        raise usage("--weight: all are 0, so there is nothing to do.", code="bench.bad-weight")
    return given


@click.command("mixed")
@click.option("--count", type=click.IntRange(1, 10_000_000), default=1000, show_default=True, help="How many calls.")
@click.option(
    "--concurrency", type=click.IntRange(1, 20_000), default=50, show_default=True, help="How many in flight."
)
@click.option(
    "--weight",
    "weights",
    multiple=True,
    callback=_weights,
    help=f"KIND=NUMBER, again for each; default: {', '.join(f'{kind}={number}' for kind, number in WEIGHTS.items())}.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Another one is another day.")
@click.option("--keep", is_flag=True, help="Keep the VMs that are left; else they are destroyed and expunged.")
@common
@pass_context
def mixed(context: Context, count: int, concurrency: int, weights: dict[str, int], seed: int, keep: bool) -> None:
    """Have a steady day: calls of all kinds at a time, each for a VM that nothing else is being done to.

    The VMs are of the cloud that `cairn up` or `cairn bench hosts` made.
    """
    template = template_of(context, ClientApi(context.client))
    concurrency = min(concurrency, count)
    check_files(concurrency)
    measuring = Measuring(context)
    day = Day(template, count, weights, seed)
    load = Load(measuring.origin, day.calls(), concurrency, ended=day.ended)
    started = time.perf_counter()
    uvloop.run(load.run())
    wall = time.perf_counter() - started
    cloud, processes = measuring.cloud(), measuring.processes()
    left = 0 if keep else uvloop.run(remove(measuring.origin, day.vms))
    result = Mixed(
        calls=len(load.ended),
        failed=sum(one.error is not None for one in load.ended),
        concurrency=concurrency,
        largest_in_flight=load.largest_in_flight,
        broken_connections=load.broken,
        wall_seconds=round(wall, 3),
        calls_per_second=round(len(load.ended) / wall, 1),
        kinds=by_kind(load.ended),
        errors=errors(load.ended),
        seed=seed,
        left=left,
        cloud=cloud,
        processes=processes,
    )
    if context.as_json:
        output.print_json(result)
    else:
        _show(result)
    if result.failed:
        sys.exit(Exit.REFUSED)


def by_kind(ended: list[Ended]) -> list[Kind]:
    """How the calls fared, by their kinds."""
    kinds: dict[str, list[Ended]] = {}
    for one in ended:
        kinds.setdefault(one.kind, []).append(one)
    found = []
    for kind, some in sorted(kinds.items()):
        p50, p99, longest = times(some)
        failed = sum(one.error is not None for one in some)
        found.append(Kind(kind=kind, calls=len(some), failed=failed, p50_ms=p50, p99_ms=p99, max_ms=longest))
    return found


def _show(result: Mixed) -> None:
    output.record(
        {
            "calls": f"{result.calls}, {result.concurrency} at a time (at most {result.largest_in_flight} in flight)",
            "failed": result.failed,
            "wall time": f"{result.wall_seconds:.2f} s, {result.calls_per_second:.0f} calls a second",
            **show(result.cloud, result.processes),
            "errors": result.errors,
        }
    )
    output.table(
        ("kind", "calls", "failed", "p50 / p99 / max"),
        (
            (one.kind, str(one.calls), str(one.failed), milliseconds(one.p50_ms, one.p99_ms, one.max_ms))
            for one in result.kinds
        ),
    )
    if result.left:
        output.say(f"{result.left} VMs could not be removed. Look at them: cairn query VmInstance 'name~=bench-%'")
