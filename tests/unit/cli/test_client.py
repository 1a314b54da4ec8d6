from __future__ import annotations

import stat
from pathlib import Path

import pytest
from tests.unit.cli.fakes import UUID, VM, FakeNode

from cairn.cli.client import Client, Job, Request
from cairn.cli.errors import CliError, Exit
from cairn.cli.http import HttpClient
from cairn.cli.session import Credentials, SessionStore

ZONES = Request(verb="GET", path="/v1/zones")


def _client(node: FakeNode, folder: Path, **environment: str) -> Client:
    return Client(HttpClient(node.url), SessionStore(folder / "session.json"), Credentials(folder, environment))


def test_first_call_logs_in_with_the_nodes_own_password_file(client: Client, node: FakeNode) -> None:
    client.call(ZONES)
    client.call(ZONES)
    assert node.logins == 1


def test_session_outlives_the_command_in_a_private_file(client: Client, node: FakeNode, environment: Path) -> None:
    client.call(ZONES)
    file = environment / "config" / "session.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "secret" not in file.read_text()
    _client(node, environment / "config").call(ZONES)
    assert node.logins == 1


def test_expired_session_is_renewed_where_nobody_has_to_be_asked(client: Client, node: FakeNode) -> None:
    client.call(ZONES)
    node.sessions.clear()
    client.call(ZONES)
    assert node.logins == 2


def test_without_a_password_the_error_says_how_to_log_in(node: FakeNode, tmp_path: Path) -> None:
    with pytest.raises(CliError) as caught:
        _client(node, tmp_path).call(ZONES)
    assert caught.value.exit_code == Exit.UNREACHABLE
    assert "login" in caught.value.problem.detail


def test_wrong_password_is_told_as_not_logged_in(node: FakeNode, tmp_path: Path) -> None:
    with pytest.raises(CliError) as caught:
        _client(node, tmp_path, CAIRN_PASSWORD="wrong").call(ZONES)
    assert caught.value.exit_code == Exit.UNREACHABLE
    assert "password is wrong" in caught.value.problem.detail


def test_log_out_ends_the_session_at_the_node_and_forgets_it(client: Client, node: FakeNode) -> None:
    client.call(ZONES)
    assert client.log_out()
    assert node.seen[-1].path == f"/v1/accounts/sessions/{1:032x}"
    assert not client.log_out()


def test_no_node_is_exit_code_3_with_what_to_do(tmp_path: Path) -> None:
    client = Client(HttpClient("http://127.0.0.1:9"), SessionStore(tmp_path / "s"), Credentials(tmp_path, {}))
    with pytest.raises(CliError) as caught:
        client.call(ZONES)
    assert caught.value.exit_code == Exit.UNREACHABLE


def test_job_is_followed_to_its_result_and_the_watcher_sees_its_steps(client: Client, node: FakeNode) -> None:
    node.jobs = [
        {"state": "Running", "progress": {"step": "starting", "percent": 40}},
        {"state": "Succeeded", "result": {"inventory": {"uuid": VM}}},
    ]
    seen: list[str] = []
    job = client.submit(Request(verb="POST", path="/v1/vm-instances", body={"params": {}}))
    result = client.finish(job, lambda job: seen.append(job.progress.step if job.progress else job.state))
    assert result == {"inventory": {"uuid": VM}}
    assert seen == ["Waiting", "starting"]


def test_calls_carry_their_jobs_uuid_so_that_sending_twice_is_safe(client: Client, node: FakeNode) -> None:
    job = client.submit(Request(verb="POST", path="/v1/vm-instances", body={}))
    assert node.calls()[0].headers["x-job-uuid"] == job.uuid


def test_failed_job_is_exit_code_1_with_its_error(client: Client, node: FakeNode) -> None:
    node.jobs = [{"state": "Failed", "error": {"detail": "No host fits.", "code": "host.none-fits"}}]
    with pytest.raises(CliError) as caught:
        client.finish(Job(uuid=UUID))
    assert (caught.value.exit_code, caught.value.problem.code) == (Exit.REFUSED, "host.none-fits")
    assert caught.value.problem.job == UUID


def test_time_out_leaves_the_job_and_says_how_to_go_on(node: FakeNode, environment: Path) -> None:
    times = iter([0.0, 1.0, 5.0, 11.0])
    client = Client(
        HttpClient(node.url),
        SessionStore(environment / "s"),
        Credentials(environment / "data", {}),
        monotonic=lambda: next(times),
    )
    node.jobs = [{"state": "Running"}]
    with pytest.raises(CliError) as caught:
        client.follow(Job(uuid=UUID), timeout_seconds=10)
    assert caught.value.exit_code == Exit.UNFINISHED
    assert f"cairn job {UUID} --follow" in caught.value.problem.detail
    assert f"cairn cancel {UUID}" in caught.value.problem.detail


def test_interrupt_stops_waiting_and_not_the_job(client: Client, node: FakeNode) -> None:
    def interrupt(job: Job) -> None:
        raise KeyboardInterrupt

    with pytest.raises(CliError) as caught:
        client.follow(Job(uuid=UUID), interrupt)
    assert caught.value.exit_code == Exit.UNFINISHED
    assert not node.calls()


def test_events_are_read_off_the_stream(client: Client, node: FakeNode) -> None:
    node.events = [{"sequence": 1, "name": "vm.started"}, {"sequence": 2, "name": "vm.stopped"}]
    assert [event["name"] for event in client.events(0, ["vm.started"])] == ["vm.started", "vm.stopped"]
    assert node.seen[-1].query == {"names": ["vm.started"], "after": ["0"]}


def test_stream_that_the_node_closes_is_told_as_its_error(client: Client, node: FakeNode) -> None:
    node.events = [{"sequence": 1}]
    node.closing = {"code": "auth.expired", "detail": "Log in again.", "status": 401, "kind": "unauthenticated"}
    events = client.events(None, [])
    assert next(events) == {"sequence": 1}
    with pytest.raises(CliError) as caught:
        next(events)
    assert caught.value.problem.code == "auth.expired"


def test_events_log_in_again_when_the_session_has_expired(client: Client, node: FakeNode) -> None:
    client.call(ZONES)
    node.sessions.clear()
    node.events = [{"sequence": 1}]
    assert len(list(client.events(None, []))) == 1


def test_answer_that_is_no_problem_is_told_with_its_status(client: Client, node: FakeNode) -> None:
    node.answers["GET", "/v1/zones"] = (502, {})
    with pytest.raises(CliError) as caught:
        client.call(ZONES)
    assert caught.value.problem.status == 502
