from __future__ import annotations

import json

from tests.unit.cli.conftest import Cli
from tests.unit.cli.fakes import UUID, FakeNode

from cairn.cli.errors import Exit


def test_no_open_job_says_so(cli: Cli) -> None:
    assert "No job is open" in cli("jobs").err


def test_open_jobs_are_listed(cli: Cli, node: FakeNode) -> None:
    node.rows["/v1/jobs"] = [{"uuid": UUID, "api": "CreateZone", "state": "Running"}]
    assert "CreateZone" in cli("jobs").out
    assert node.seen[-1].query["q"] == ["state?=Waiting,Running"]
    cli("jobs", "--all")
    assert "q" not in node.seen[-1].query


def test_job_is_shown_as_it_is(cli: Cli, node: FakeNode) -> None:
    node.jobs = [{"state": "Running", "progress": {"step": "starting", "percent": 40}}]
    ran = cli("job", UUID)
    assert ran.code == Exit.OK
    assert "starting (40 %)" in ran.out


def test_followed_job_that_fails_is_exit_code_1(cli: Cli, node: FakeNode) -> None:
    node.jobs = [{"state": "Running"}, {"state": "Failed", "error": {"detail": "No.", "code": "x.y"}}]
    assert cli("job", UUID, "--follow").code == Exit.REFUSED


def test_cancel_asks_the_node(cli: Cli, node: FakeNode) -> None:
    node.jobs = [{"state": "Running"}]
    assert "was asked to end" in cli("cancel", UUID).out
    assert (node.seen[-1].verb, node.seen[-1].path) == ("DELETE", f"/v1/api-jobs/{UUID}")


def test_followed_events_are_a_line_each(cli: Cli, node: FakeNode) -> None:
    node.events = [{"sequence": 7, "name": "vm.started", "createDate": "2026-01-01", "content": {"vm": "web"}}]
    assert "7  vm.started  vm=web" in cli("events", "--follow").out
    assert json.loads(cli("events", "--follow", "--json").out)["sequence"] == 7
