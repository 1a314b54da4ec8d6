from __future__ import annotations

import asyncio

import msgspec
import pytest
from tests.unit.cli.bench.test_load import Node, calls, served, soon
from tests.unit.cli.fakes import FakeNode

from cairn.cli.bench import crash
from cairn.cli.bench.crash import Run, aftermath, creations, interrupted, is_clean, play, run_interrupted, show
from cairn.cli.bench.creation import Template
from cairn.cli.bench.load import NO_ANSWER, Ended, Load
from cairn.cli.bench.wire import Origin
from cairn.cli.client import Client

TEMPLATE = Template(image="i", network="n", offering="o", prefix="bench-1")


def end(subject: str, error: str | None = None, at: float = 0.0) -> Ended:
    return Ended(kind="create", subject=subject, seconds=1.0, error=error, job=f"job-{subject}", at=at)


def run_of(*ended: Ended, killed_at: float = 10.0) -> Run:
    load = Load(Origin("http://127.0.0.1:1", "session"), [], 1)
    load.ended = list(ended)
    load.accepted = {one.job or "": 5.0 for one in ended if one.error != "vm.refused"}
    return Run(load=load, killed_at=killed_at, open_then=frozenset(f"job-{n}" for n in "ab"))


async def test_the_kill_comes_when_so_many_calls_are_jobs() -> None:
    node, killed = Node(looks=3), list[int]()
    async with served(node) as origin:
        load = Load(origin, calls(6), 2, accept_first=True, patience_seconds=60.0, sleep=soon)

        async def kill() -> None:
            killed.append(len(load.accepted))

        run = await interrupted(load, 3, kill)

    assert killed == [3] or killed == [4]
    assert len(load.ended) == 6
    assert 1 <= len(run.open_then) <= 2


async def test_a_load_that_is_too_small_is_ended_with_the_kill() -> None:
    killed = asyncio.Event()

    async def kill() -> None:
        killed.set()

    async with served(Node()) as origin:
        run = await interrupted(Load(origin, calls(1), 1, accept_first=True), 5, kill)

    assert killed.is_set()
    assert run.open_then == frozenset()


def test_books_that_are_in_order(client: Client, node: FakeNode) -> None:
    node.rows["/v1/vm-instances"] = [{"uuid": n, "name": "bench-1-1", "state": "Running"} for n in "ab"]

    found = aftermath(run_of(end("a", at=11.5), end("b", at=14.0), end("c", "vm.refused")), client, "bench-1")

    assert (found.stuck, found.lost, found.leaked) == (0, 0, 0)
    assert (found.succeeded, found.failed, found.accepted, found.open_at_the_kill) == (2, 1, 2, 2)
    assert found.last_end_seconds == 4.0
    assert not is_clean(found)
    assert is_clean(msgspec.structs.replace(found, failed=0))
    assert "4.0 s after the kill" in str(show(found)["last of those open"])


def test_what_is_stuck_lost_or_leaked_is_counted(client: Client, node: FakeNode) -> None:
    node.rows["/v1/vm-instances"] = [
        {"uuid": "b", "name": "bench-1-2", "state": "Starting"},
        {"uuid": "x", "name": "bench-1-3", "state": "Running"},
    ]

    found = aftermath(run_of(end("a"), end("b", NO_ANSWER), end("c", "job.not-found")), client, "bench-1")

    assert found.stuck == 2  # a job without an end, and a VM on its way
    assert found.lost == 2  # a VM that was made, and a job that is not known
    assert found.leaked == 1
    assert found.errors == {NO_ANSWER: 1, "job.not-found": 1}


def test_vms_that_only_hosts_know_are_leaked(client: Client, node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    node.rows["/v1/vm-instances"] = [{"uuid": "a", "name": "bench-1-1", "state": "Running"}]
    node.rows["/v1/hosts/simulators"] = [{"uuid": "h", "url": f"{node.url}/hosts/sim-1"}]
    monkeypatch.setattr(crash, "_asked", lambda url: {"sim-1": crash.SimulatedHost(vms={"a": 1, "stray": 1})})

    assert aftermath(run_of(end("a")), client, "bench-1").leaked == 1


def test_each_creation_has_a_vm_and_a_job_of_its_own() -> None:
    made = list(creations(TEMPLATE, 3))

    assert len({call.subject for call in made}) == len({call.job for call in made}) == 3
    assert all(isinstance(call.body, dict) and call.body["params"]["name"].startswith("bench-1-") for call in made)


def test_a_run_has_an_event_loop_of_its_own() -> None:
    async def kill() -> None:
        pass

    origin = Origin("http://127.0.0.1:1", "session")
    run = run_interrupted(play(origin, TEMPLATE, 2, 1, 0.001), 1, kill)

    assert [one.error for one in run.load.ended] == [NO_ANSWER, NO_ANSWER]
