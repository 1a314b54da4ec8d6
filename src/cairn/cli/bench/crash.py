"""Kills a node in the middle of many calls, and sees what becomes of them.

The calls are answered 202 when they are jobs, and their ends are asked for until there are some, from whichever node answers. A
call whose acknowledgement got lost is made again with the same job. Then the books are checked: each acknowledged job has ended,
each VM that was made is there once, in the cloud and on the hosts, and nothing is there that was not made.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from urllib.parse import urlsplit

import msgspec
import uvloop
from msgspec import Struct

from cairn.cli.bench.creation import Template
from cairn.cli.bench.load import NO_ANSWER, Call, Ended, Load
from cairn.cli.bench.measuring import errors, total
from cairn.cli.bench.wire import Origin
from cairn.cli.client import Client
from cairn.cli.errors import CliError
from cairn.cli.http import HttpClient

_NO_JOB = "job.not-found"
_MOVING = ("Starting", "Stopping", "Rebooting", "Created", "Destroying", "Expunging", "Pausing", "Resuming")


class Aftermath(Struct, frozen=True, kw_only=True):
    """What became of the calls."""

    count: int
    accepted: int
    open_at_the_kill: int  #: acknowledged, and not ended
    succeeded: int
    failed: int
    stuck: int  #: jobs that have no end, VMs that are on their way to a state, and workflows that are not done
    lost: int  #: acknowledged jobs that nobody knows any more, and VMs that were made and are not there
    leaked: int  #: VMs in the cloud or on its hosts that nobody was told of
    largest_in_flight: int
    broken_connections: int
    asked_again: int  #: answers that it could not be done at that moment
    last_end_seconds: float  #: from the kill to the end of the last job that was open then
    errors: dict[str, int]  #: code -> how often


class Run(Struct, kw_only=True):
    """The run itself: when the node was killed, and what its calls came to."""

    load: Load
    killed_at: float = 0.0
    open_then: frozenset[str] = frozenset()


def creations(template: Template, count: int) -> Iterator[Call]:
    """Calls that create VMs."""
    for number in range(count):
        vm = uuid.uuid4().hex
        params = {
            "name": f"{template.prefix}-{number + 1:05}",
            "imageUuid": template.image,
            "l3NetworkUuids": [template.network],
            "instanceOfferingUuid": template.offering,
            "resourceUuid": vm,
        }
        job = uuid.uuid4().hex
        yield Call(kind="create", verb="POST", target="/v1/vm-instances", body={"params": params}, subject=vm, job=job)


async def interrupted(load: Load, accepted: int, kill: Callable[[], Awaitable[None]]) -> Run:
    """Run the load, and `kill` when so many of its calls are jobs; sooner if the load ends before."""
    run = Run(load=load)
    reached = asyncio.Event()
    load.when_accepted(accepted, reached.set)
    async with asyncio.TaskGroup() as group:
        work = group.create_task(load.run())
        work.add_done_callback(lambda _: reached.set())
        await reached.wait()
        run.killed_at = time.monotonic()
        run.open_then = frozenset(load.accepted) - {one.job or "" for one in load.ended}
        await kill()
    return run


def aftermath(run: Run, client: Client, prefix: str) -> Aftermath:
    """Check the books. VMs of the run are those whose names begin with `prefix`."""
    ended = run.load.ended
    made = {one.subject for one in ended if one.error is None}
    there = {
        str(vm["uuid"]): str(vm["state"])
        for vm in client.all("VmInstance", [f"name~={prefix}-%"])
        if vm.get("state") not in ("Destroyed",)
    }
    gone = [one for one in ended if one.error == _NO_JOB and one.job in run.load.accepted]
    unanswered = [one for one in ended if one.error == NO_ANSWER]
    on_hosts = _on_hosts(client, set(there))
    return Aftermath(
        count=len(ended),
        accepted=len(run.load.accepted),
        open_at_the_kill=len(run.open_then),
        succeeded=len(made),
        failed=len(ended) - len(made),
        stuck=len(unanswered) + sum(state in _MOVING for state in there.values()) + total(client, "WorkflowRun"),
        lost=len(gone) + len(made - there.keys()),
        leaked=len(there.keys() - made - {one.subject for one in unanswered}) + on_hosts,
        largest_in_flight=run.load.largest_in_flight,
        broken_connections=run.load.broken,
        asked_again=run.load.again,
        last_end_seconds=_last_end(run, ended),
        errors=errors(ended),
    )


def _last_end(run: Run, ended: list[Ended]) -> float:
    ends = [one.at for one in ended if one.job in run.open_then and one.error != NO_ANSWER]
    return round(max(ends) - run.killed_at, 2) if ends else 0.0


class SimulatedHost(Struct, frozen=True):
    """What is asked of a simulated host."""

    vms: dict[str, object] = {}


def _on_hosts(client: Client, run: set[str]) -> int:
    """VMs on simulated hosts that the cloud does not know."""
    rows = client.query("SimulatorHost", [], options=(("limit", "1"),)).inventories
    if not rows:
        return 0
    parts = urlsplit(str(rows[0]["url"]))
    found = _asked(f"{parts.scheme}://{parts.netloc}")
    known = run | {str(vm["uuid"]) for vm in client.all("VmInstance", [])}
    return len({vm for host in found.values() for vm in host.vms} - known)


def _asked(url: str) -> dict[str, SimulatedHost]:
    """What is on the hosts of a simulator; nothing where it cannot be asked from here."""
    http = HttpClient(url)
    try:
        return msgspec.json.decode(
            http.request("GET", "/inspect", timeout_seconds=60).body, type=dict[str, SimulatedHost]
        )
    except (CliError, msgspec.MsgspecError):
        return {}
    finally:
        http.close()


def show(found: Aftermath) -> dict[str, object]:
    """The lines that tell what became of the calls."""
    return {
        "accepted": f"{found.accepted} of {found.count}, {found.open_at_the_kill} open at the kill",
        "ended": f"{found.succeeded} succeeded, {found.failed} failed",
        "last of those open": f"ended {found.last_end_seconds:.1f} s after the kill",
        "stuck / lost / leaked": f"{found.stuck} / {found.lost} / {found.leaked}",
        "in flight": f"at most {found.largest_in_flight}; {found.broken_connections} connections broke, "
        f"{found.asked_again} answers that it cannot be done now",
        "errors": found.errors,
    }


def is_clean(found: Aftermath) -> bool:
    """Whether every call has ended well, and nothing is left over."""
    return not (found.failed or found.stuck or found.lost or found.leaked)


def play(origin: Origin, template: Template, count: int, concurrency: int, patience_seconds: float) -> Load:
    """The load of a run."""
    return Load(origin, creations(template, count), concurrency, accept_first=True, patience_seconds=patience_seconds)


def run_interrupted(load: Load, accepted: int, kill: Callable[[], Awaitable[None]]) -> Run:
    """As `interrupted`, in an event loop of its own."""
    return uvloop.run(interrupted(load, accepted, kill))
