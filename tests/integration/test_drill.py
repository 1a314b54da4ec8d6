"""The drill: some 300 creations, stops, starts and destructions are open, and the node is killed five times with ``kill -9``.

All calls of a VM are made at once, in a row, before its creation has ended. Nobody but the killer disturbs them, so each
must succeed, in its order; then each VM is as its last call left it, and the rules between database and hosts hold.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.kill_site import KillSite, kill_site
from tests.system.api import eventually

SEED = 20261127
JOBS = 300
KILLS = 5
ENDED_SECONDS = 300
#: what may come after a creation, and what the VM is then
PATHS: dict[tuple[str, ...], str] = {
    (): "Running",
    ("stop",): "Stopped",
    ("stop", "start"): "Running",
    ("destroy",): "Destroyed",
    ("stop", "destroy"): "Destroyed",
    ("stop", "start", "stop", "destroy"): "Destroyed",
}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[KillSite]:
    with kill_site(tmp_path) as made:
        yield made


def begin(site: KillSite, vm: str, step: str) -> str:
    """Ask for one thing; its job."""
    if step == "create":
        return site.begin_vm(vm[:8], resourceUuid=vm)
    if step == "destroy":
        return site.api.submit("DELETE", f"/vm-instances/{vm}")
    return site.api.submit("PUT", f"/vm-instances/{vm}/actions", {f"{step}VmInstance": {}})


def test_node_killed_five_times_under_many_calls_loses_and_leaves_nothing(site: KillSite) -> None:
    chance = random.Random(SEED)
    site.turn(command="vm.start", delaySeconds=0.2, delayMaxSeconds=0.6)
    site.turn(command="vm.stop", delaySeconds=0.2, delayMaxSeconds=0.6)
    before = site.jobs_ended()
    jobs: dict[str, str] = {}  # job -> what it does, for the message of a failure
    last: dict[str, str] = {}
    while len(jobs) < JOBS:
        vm = f"{chance.getrandbits(128):032x}"
        path = chance.choice(list(PATHS))
        for step in ("create", *path):
            jobs[begin(site, vm, step)] = f"{step} of {vm}"
        last[vm] = PATHS[path]

    for threshold in sorted(chance.sample(range(JOBS // 20, JOBS - JOBS // 10), KILLS)):
        eventually(lambda done=before + threshold: site.jobs_ended() >= done, f"{threshold} jobs have ended")  # type: ignore[misc]
        site.node.kill()
        site.restart()

    ends = {job: site.api.job(job, wait_seconds=ENDED_SECONDS) for job in jobs}
    assert {jobs[job]: end for job, end in ends.items() if end["state"] != "Succeeded"} == {}
    site.wait_for_rest()
    assert {uuid: str(row["state"]) for uuid, row in site.rows()["vm_instance"].items()} == last
