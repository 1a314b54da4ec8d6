"""A real node is killed with ``kill -9``: at every step of `vm.create`, and with many jobs open. Nothing is lost or left over."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.kill_site import KillSite, kill_site
from tests.system.api import eventually

import cairn.services.vm
from cairn.testing.faults import Fault

OPEN_JOBS = 50
ENDED_SECONDS = 60


def _steps() -> list[str]:
    """The steps of `vm.create`, as the distribution lists them."""
    file = Path(cairn.services.vm.__path__[0]) / "workflows.toml"
    steps: list[str] = tomllib.loads(file.read_text())["workflow"]["vm.create"]["steps"]
    return steps


FAULTS = [
    Fault(workflow="vm.create", kind="step", place=step, moment=moment)
    for step in _steps()
    for moment in ("before", "after")
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KillSite]:
    """One cloud for all deaths of this file: each life begins where the last one ended."""
    with kill_site(tmp_path_factory.mktemp("kill")) as made:
        yield made


@pytest.mark.parametrize("fault", FAULTS, ids=Fault.line)
def test_node_killed_around_each_step_of_a_creation(site: KillSite, fault: Fault) -> None:
    assert _killed_at(site, fault)


def test_node_killed_after_each_journal_write_of_a_creation(site: KillSite) -> None:
    write = 1
    while _killed_at(site, Fault(workflow="vm.create", kind="journal", place=str(write), moment="after")):
        write += 1
    assert write > 3


def _killed_at(site: KillSite, fault: Fault) -> bool:
    """A creation that the node does not survive, and its end in the next life; False: it never came to that place."""
    before = len(site.rows()["vm_instance"])
    site.arm(fault)
    job = site.begin_vm("killed")
    killed: bool = eventually(lambda: site.node.killed or site.ended(job), "the node dies") is True
    site.disarm()
    if killed:
        site.restart()
    ended = site.api.job(job, wait_seconds=ENDED_SECONDS)
    assert ended["state"] in ("Succeeded", "Failed"), ended
    site.wait_for_rest()
    assert len(site.rows()["vm_instance"]) == before + (ended["state"] == "Succeeded")
    return killed


def test_node_killed_with_many_jobs_open(site: KillSite) -> None:
    before = site.vms_on_hosts()
    site.turn(command="vm.start", delaySeconds=0.5, delayMaxSeconds=1.5)
    jobs = [site.begin_vm(f"many-{number}") for number in range(OPEN_JOBS)]
    eventually(lambda: site.vms_on_hosts() > before + 3, "some VMs are there")
    site.node.kill()
    open_jobs = len(site.rows()["flow_run"])
    assert open_jobs > OPEN_JOBS / 3, "the node was killed too late to show anything"

    site.restart()
    ended = [site.api.job(job, wait_seconds=ENDED_SECONDS) for job in jobs]
    assert {job["state"] for job in ended} <= {"Succeeded", "Failed"}
    site.wait_for_rest()
    made = sum(job["state"] == "Succeeded" for job in ended)
    assert site.vms_on_hosts() == before + made
    assert made > OPEN_JOBS / 2, [job.get("error") for job in ended if job["state"] == "Failed"][:3]
