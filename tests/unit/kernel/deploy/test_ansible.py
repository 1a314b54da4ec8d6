from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from cairn.kernel.deploy import ansible
from cairn.kernel.deploy.ansible import Deployer, DeployResult
from cairn.kernel.deploy.inventory import Machine, OperatorRoles, Variable
from cairn.kernel.deploy.known_hosts import KnownHosts
from cairn.kernel.deploy.order import RunEnded, RunLine, TaskFailed, TaskStarted
from cairn.kernel.deploy.ssh import SshTarget, scan_host_key
from cairn.kernel.error import CairnError, ErrorKind
from cairn.testing.clock import VirtualClock
from cairn.testing.shared import shared_store

if TYPE_CHECKING:
    from tests.unit.kernel.deploy.conftest import Sshd

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the playbook would need sudo")
PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Greet
      command: echo {{ greeting | default('hello') | quote }}
      register: said
      changed_when: said.stdout == greeting
    - name: Break
      command: sh -c 'echo the disk of {{ ansible_password | default("nobody") }} is full >&2; exit 1'
      when: break | default(false)
"""


@pytest.fixture
def playbook(tmp_path: Path) -> Path:
    path = tmp_path / "greet.yml"
    path.write_text(PLAYBOOK)
    return path


@pytest.fixture
async def known_hosts(tmp_path: Path) -> KnownHosts:
    return KnownHosts(await shared_store(tmp_path), tmp_path / "known hosts")


def make(tmp_path: Path, known_hosts: KnownHosts, operator: OperatorRoles | None = None) -> Deployer:
    folder = tmp_path / "data"
    return Deployer(folder, known_hosts, clock=VirtualClock(), operator=operator, remote_python=sys.executable)


def machine(host: str = "h1", password: str = "secret word") -> Machine:
    return Machine(uuid=host, target=SshTarget(host=host, password=password))


@needs_root
async def test_real_run_tells_progress_and_counts_and_keeps_only_its_log(
    sshd: Sshd, tmp_path: Path, playbook: Path, known_hosts: KnownHosts
) -> None:
    await known_hosts.check("u1", sshd.target, await scan_host_key(sshd.target))
    heard: list[tuple[str, int]] = []
    variables: dict[str, Variable] = {"greeting": "hello {{ x }}", "ansible_password": "hidden away"}
    broken = Machine(uuid="u1", target=sshd.target, variables={**variables, "break": True})
    deployer = make(tmp_path, known_hosts)

    result = await deployer.run(
        playbook,
        [Machine(uuid="u1", target=sshd.target, variables=variables)],
        on_progress=lambda step, percent: heard.append((step, percent)),
    )
    with pytest.raises(CairnError) as caught:
        await deployer.run(playbook, [broken])

    assert (result.ok, result.changed) == (1, 1)
    assert heard == [("Greet", 0), ("Break", 50)]
    assert "PLAY RECAP" in result.log_path.read_text()
    assert caught.value.code == "deploy.failed"
    for part in ("127.0.0.1", "'Break'", "the disk of hidden away is full", "logs/"):
        assert part in caught.value.message
    assert list((tmp_path / "data" / "runs").iterdir()) == []


@needs_root
async def test_real_run_over_an_unpinned_host_is_unreachable(
    sshd: Sshd, tmp_path: Path, playbook: Path, known_hosts: KnownHosts
) -> None:
    with pytest.raises(CairnError, match="Host key verification failed") as caught:
        await make(tmp_path, known_hosts).run(playbook, [Machine(uuid="u1", target=sshd.target)])
    assert caught.value.code == "deploy.unreachable"


async def test_playbook_that_ansible_refuses_fails_with_ansibles_words(tmp_path: Path, known_hosts: KnownHosts) -> None:
    playbook = tmp_path / "p.yml"
    playbook.write_text("- hosts: all\n  roles: [no_such_role]\n")

    with pytest.raises(CairnError, match="no_such_role") as caught:
        await make(tmp_path, known_hosts).run(playbook, [machine()])
    assert caught.value.code == "deploy.failed"


class Child:
    """Stands in for the process that runs Ansible: says its lines and ends, or stays until its input ends."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch

    def says(self, *lines: RunLine, stays: bool = False) -> None:
        said = self.folder / "said"
        said.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        then = f"cat >/dev/null; touch {self.folder}/ended" if stays else "true"
        command = f"head -n 1 >{self.folder}/order; cat {said}; {then}"
        self._monkeypatch.setattr(ansible, "_RUNNER", ("sh", "-c", command))

    @property
    def order(self) -> str:
        return (self.folder / "order").read_text()


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Child:
    return Child(tmp_path, monkeypatch)


ENDED = RunEnded("successful", ok={"h1": 2, "h2": 3}, changed={"h1": 1})


async def test_counts_are_over_all_machines(
    child: Child, tmp_path: Path, playbook: Path, known_hosts: KnownHosts
) -> None:
    child.says(TaskStarted("t", 0), ENDED)

    result = await make(tmp_path, known_hosts).run(playbook, [machine("h1"), machine("h2")])

    assert result == DeployResult(ok=5, changed=1, seconds=0.0, log_path=result.log_path)


async def test_failure_that_a_rescue_mended_is_none(
    child: Child, tmp_path: Path, playbook: Path, known_hosts: KnownHosts
) -> None:
    child.says(TaskFailed("h1", "t", "mended"), ENDED)

    await make(tmp_path, known_hosts).run(playbook, [machine()])


async def test_failing_machines_are_named_without_the_others_and_without_passwords(
    child: Child, tmp_path: Path, playbook: Path, known_hosts: KnownHosts
) -> None:
    child.says(
        TaskFailed("h2", "t2", "wrong: secret word"),
        TaskFailed("h3", "log in", "no route", unreachable=True),
        RunEnded("failed", ok={"h1": 1}, failed={"h2": 1}, unreachable={"h3": 1}),
    )

    with pytest.raises(CairnError) as caught:
        await make(tmp_path, known_hosts).run(playbook, [machine(host) for host in ("h1", "h2", "h3")])

    assert caught.value.code == "deploy.failed"
    assert caught.value.details["hosts"] == {"h2": "task 't2': wrong: ********", "h3": "task 'log in': no route"}
    assert "greet failed on h2, task 't2': wrong: ******** (and 1 of 3 machines more)" in caught.value.message


async def test_machines_that_could_not_be_logged_in_to_are_unreachable(
    child: Child, tmp_path: Path, playbook: Path, known_hosts: KnownHosts
) -> None:
    child.says(TaskFailed("h1", "t", "no route", unreachable=True), RunEnded("failed", unreachable={"h1": 1}))

    with pytest.raises(CairnError) as caught:
        await make(tmp_path, known_hosts).run(playbook, [machine()])
    assert (caught.value.code, caught.value.kind) == ("deploy.unreachable", ErrorKind.UNAVAILABLE)


async def test_child_that_dies_is_a_failure(
    child: Child, tmp_path: Path, playbook: Path, known_hosts: KnownHosts
) -> None:
    child.says(TaskStarted("t", 0))

    with pytest.raises(CairnError, match="died"):
        await make(tmp_path, known_hosts).run(playbook, [machine()])


async def test_cancelled_run_ends_its_child_and_removes_its_secrets(
    child: Child, tmp_path: Path, playbook: Path, known_hosts: KnownHosts
) -> None:
    child.says(TaskStarted("t", 0), stays=True)
    begun = asyncio.Event()
    deployer = make(tmp_path, known_hosts)
    run = asyncio.create_task(deployer.run(playbook, [machine()], on_progress=lambda _step, _percent: begun.set()))
    await begun.wait()
    assert "secret word" in next((tmp_path / "data" / "runs").glob("*/inventory.yml")).read_text()

    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert (tmp_path / "ended").exists()
    assert list((tmp_path / "data" / "runs").iterdir()) == []


async def test_run_over_its_time_is_ended_and_reported(
    child: Child, tmp_path: Path, playbook: Path, known_hosts: KnownHosts
) -> None:
    child.says(stays=True)

    with pytest.raises(CairnError, match="greet on h1 was given up") as caught:
        await make(tmp_path, known_hosts).run(playbook, [machine()], timeout_seconds=0.05)

    assert caught.value.code == "deploy.timeout"
    assert (tmp_path / "ended").exists()


async def test_password_is_in_the_inventory_alone(
    child: Child, tmp_path: Path, playbook: Path, known_hosts: KnownHosts
) -> None:
    child.says(ENDED)

    result = await make(tmp_path, known_hosts).run(playbook, [machine()])

    assert "secret word" not in child.order
    assert "secret word" not in result.log_path.read_text()


async def test_nodes_own_environment_and_the_users_ansible_settings_stay_out(
    child: Child, tmp_path: Path, playbook: Path, known_hosts: KnownHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAIRN_ADMIN_PASSWORD", "x")
    monkeypatch.setenv("ANSIBLE_HOST_KEY_CHECKING", "False")
    child.says(ENDED)

    await make(tmp_path, known_hosts).run(playbook, [machine()])

    assert "CAIRN_ADMIN_PASSWORD" not in child.order
    assert '"ANSIBLE_HOST_KEY_CHECKING":"True"' in child.order


async def test_operators_roles_are_found_after_ours(
    child: Child, tmp_path: Path, playbook: Path, known_hosts: KnownHosts
) -> None:
    child.says(ENDED)

    await make(tmp_path, known_hosts, OperatorRoles(path=tmp_path)).run(playbook, [machine()])

    assert f'"roles":["{ansible.SHARED_ROLES}","{tmp_path}"]' in child.order


async def test_only_so_many_runs_go_on_at_once(
    child: Child, tmp_path: Path, playbook: Path, known_hosts: KnownHosts
) -> None:
    child.says(TaskStarted("t", 0), stays=True)
    deployer = Deployer(tmp_path / "data", known_hosts, clock=VirtualClock(), max_runs=1)
    begun = asyncio.Event()
    first = asyncio.create_task(deployer.run(playbook, [machine()], on_progress=lambda _s, _p: begun.set()))
    await begun.wait()
    second = asyncio.create_task(deployer.run(playbook, [machine()]))
    await asyncio.sleep(0)
    assert len(list((tmp_path / "data" / "runs").iterdir())) == 1

    for run in (first, second):
        run.cancel()
    await asyncio.gather(first, second, return_exceptions=True)


async def test_old_logs_go_and_what_a_crash_left_goes(
    child: Child, tmp_path: Path, playbook: Path, known_hosts: KnownHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ansible, "KEPT_LOGS", 3)
    (tmp_path / "data" / "runs" / "left").mkdir(parents=True)
    child.says(ENDED)
    deployer = make(tmp_path, known_hosts)
    assert list((tmp_path / "data" / "runs").iterdir()) == []

    for _ in range(5):
        last = await deployer.run(playbook, [machine()])

    logs = sorted((tmp_path / "data" / "logs").iterdir())
    assert len(logs) == 3
    assert last.log_path.stat().st_mode & 0o777 == 0o600


async def test_address_that_is_none_is_refused_before_anything_is_written(
    tmp_path: Path, playbook: Path, known_hosts: KnownHosts
) -> None:
    with pytest.raises(CairnError) as caught:
        await make(tmp_path, known_hosts).run(playbook, [machine("-oProxyCommand=x")])
    assert caught.value.code == "ssh.bad-address"
