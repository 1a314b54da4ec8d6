"""Agents are put on real hosts: over SSH, with certificates, and stay there."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import aiohttp
import msgspec
import pytest

import cairn.plugins
from cairn.agents.protocol.wire import Pong
from cairn.kernel.deploy.agent import agent_variables
from cairn.kernel.deploy.ansible import Deployer
from cairn.kernel.deploy.authority import Authority
from cairn.kernel.deploy.inventory import Machine, OperatorRoles, Variable
from cairn.kernel.deploy.known_hosts import KnownHosts
from cairn.kernel.deploy.ssh import SshTarget, reach
from cairn.kernel.deploy.wheels import WheelSet, build_wheels, wheel_set
from cairn.kernel.error import CairnError
from cairn.kernel.store.store import Store
from cairn.lab.lab import HostStatus, Lab
from cairn.testing.shared import authority_in, shared_store

pytestmark = pytest.mark.lab

T = TypeVar("T")
PLUGINS = Path(next(iter(cairn.plugins.__path__)))
KVM = PLUGINS / "kvm" / "ansible" / "kvm.yml"
KVM_REMOVE = PLUGINS / "kvm" / "ansible" / "remove.yml"
BACKUP = PLUGINS / "backup_server" / "ansible" / "backup.yml"
BACKUP_REMOVE = PLUGINS / "backup_server" / "ansible" / "remove.yml"


class Site(NamedTuple):
    """A lab, and what a management node has for deploying to it."""

    lab: Lab
    folder: Path
    authority: Authority
    known_hosts: KnownHosts
    wheels: WheelSet

    def host(self, number: int = 1) -> HostStatus:
        return self.lab.status().hosts[number - 1]

    def by_key(self, number: int = 1) -> SshTarget:
        status = self.lab.status()
        host = status.hosts[number - 1]
        return SshTarget(host=host.address, port=host.ssh_port, private_key_path=Path(status.key_file))

    def by_password(self, number: int = 1) -> SshTarget:
        status = self.lab.status()
        password = Path(status.password_file).read_text().strip()
        return SshTarget(host=status.hosts[number - 1].address, password=password)

    async def machine(self, target: SshTarget, **variables: Variable) -> Machine:
        credentials = await self.authority.issue_agent(target.host, target.host.replace(".", "-"), [target.host])
        agent = agent_variables(credentials, self.wheels, self.folder / "wheels")
        return Machine(uuid=target.host.replace(".", "-"), target=target, variables={**agent, **variables})

    def deployer(self, operator: OperatorRoles | None = None) -> Deployer:
        return Deployer(self.folder / "ansible", self.known_hosts, operator=operator)

    async def pin(self, *targets: SshTarget) -> None:
        for target in targets:
            await reach(target, target.host.replace(".", "-"), self.known_hosts)

    def on(self, number: int, *command: str) -> str:
        return self.lab.exec(f"host{number}", command).stdout

    async def ping(self, number: int = 1, port: int = 7070) -> Pong:
        url = f"https://{self.host(number).address}:{port}/v1/ping"
        async with aiohttp.ClientSession() as session, session.get(url, ssl=self.authority.client_context()) as answer:
            assert answer.status == 200
            return msgspec.json.decode(await answer.read(), type=Pong)


async def shared(folder: Path) -> tuple[Authority, Store]:
    return await authority_in(folder), await shared_store(folder)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("deploy")
    try:
        wheels = wheel_set()
    except CairnError:
        wheels = build_wheels(folder / "built")
    lab = Lab(folder, "deploytst")
    lab.down()
    try:
        lab.up(2)
        authority, store = asyncio.run(shared(folder / "pki"))
        yield Site(lab, folder, authority, KnownHosts(store, folder / "known_hosts"), wheels)
    finally:
        lab.down()
        assert not lab.leftovers()


async def eventually(look: Callable[[], Awaitable[T]], *, seconds: float = 30) -> T:
    """The first answer of `look` that is no error."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await look()
        except (OSError, AssertionError, aiohttp.ClientError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)


async def test_agents_get_onto_two_hosts_by_password_and_key_and_the_second_run_changes_nothing(site: Site) -> None:
    targets = [site.by_password(1), site.by_key(2)]
    await site.pin(*targets)
    machines = [await site.machine(target) for target in targets]
    heard: list[tuple[str, int]] = []

    first = await site.deployer().run(KVM, machines, on_progress=lambda step, percent: heard.append((step, percent)))
    second = await site.deployer().run(
        KVM, [await site.machine(site.by_key(1)), await site.machine(site.by_password(2))]
    )

    assert first.changed > 0
    assert second.changed == 0
    assert [percent for _, percent in heard] == sorted(percent for _, percent in heard)
    assert heard[-1][1] >= 90
    assert (await site.ping(1)).protocol == (await site.ping(2)).protocol == 1


async def test_no_secret_is_left_on_the_node_and_the_hosts_key_is_private(site: Site) -> None:
    password = site.by_password().password
    assert password

    kept = [path for path in (site.folder / "ansible").rglob("*") if path.is_file()]

    assert kept
    assert all(password not in path.read_text() and "PRIVATE KEY" not in path.read_text() for path in kept)
    assert list((site.folder / "ansible" / "runs").iterdir()) == []
    assert site.on(1, "stat", "-c", "%a %U", "/etc/cairn/cairn-agent-tls/agent.key") == "600 root\n"


async def test_agent_turns_away_whoever_has_no_certificate_of_the_cloud(site: Site, tmp_path: Path) -> None:
    stranger = (await authority_in(tmp_path / "pki")).client_context()
    stranger.load_verify_locations(site.authority.certificate_path)
    nobody = ssl.create_default_context(cafile=str(site.authority.certificate_path))

    for context in (stranger, nobody):
        with pytest.raises((aiohttp.ClientError, OSError)):
            async with aiohttp.ClientSession() as session:
                async with session.get(f"https://{site.host().address}:7070/v1/ping", ssl=context) as answer:
                    await answer.read()


async def test_killed_agent_is_started_again(site: Site) -> None:
    boot = (await site.ping()).boot

    site.on(1, "pkill", "-KILL", "-f", "bin/cairn-agent serve")

    async def restarted() -> None:
        assert (await site.ping()).boot != boot

    await eventually(restarted)


async def test_agent_and_libvirt_come_back_when_the_host_boots(site: Site) -> None:
    site.lab.kill("host1")
    with pytest.raises((aiohttp.ClientError, OSError)):
        async with asyncio.timeout(2):
            await site.ping()

    site.lab.mend("host1")

    await eventually(site.ping)

    async def libvirt_answers() -> None:
        assert "qemu" in site.on(1, "virsh", "-q", "uri")

    await eventually(libvirt_answers)


async def test_changed_settings_restart_the_agent_and_only_then(site: Site) -> None:
    boot = (await site.ping()).boot
    machine = await site.machine(site.by_key(), agent_settings={"libvirt_uri": "qemu:///system?x=1"})

    assert (await site.deployer().run(KVM, [machine])).changed > 0
    changed = (await eventually(site.ping)).boot
    assert (await site.deployer().run(KVM, [machine])).changed == 0

    assert changed != boot
    assert (await site.ping()).boot == changed


async def test_backup_server_and_kvm_host_fit_on_one_machine(site: Site) -> None:
    machine = await site.machine(site.by_key())

    await site.deployer().run(BACKUP, [machine])
    assert (await site.deployer().run(BACKUP, [machine])).changed == 0
    await site.ping(port=7171)
    await site.deployer().run(BACKUP_REMOVE, [machine])

    with pytest.raises(aiohttp.ClientError):
        await site.ping(port=7171)
    await site.ping(port=7070)


async def test_operators_own_roles_and_tasks_run_around_ours(site: Site, tmp_path: Path) -> None:
    for role in ("first", "last"):
        (tmp_path / role / "tasks").mkdir(parents=True)
        (tmp_path / role / "tasks" / "main.yml").write_text(f"- shell: echo {role} >>/root/order\n")
    (tmp_path / "pre.yml").write_text("- shell: echo pre >>/root/order\n")
    (tmp_path / "post.yml").write_text("- shell: echo post $(pgrep -cf 'bin/cairn-agent serve') >>/root/order\n")
    operator = OperatorRoles(path=tmp_path, before=("first",), after=("last",))

    await site.deployer(operator).run(KVM, [await site.machine(site.by_key())])

    assert site.on(1, "cat", "/root/order").split("\n")[:2] == ["first", "pre"]
    assert site.on(1, "cat", "/root/order").split("\n")[-2] == "last"


async def test_agent_that_does_not_start_fails_with_its_last_words(site: Site) -> None:
    machine = await site.machine(site.by_key(2), agent_settings={"no_such_setting": 1}, agent_start_timeout_seconds=2)

    with pytest.raises(CairnError, match="no_such_setting") as caught:
        await site.deployer().run(KVM, [await site.machine(site.by_key(1)), machine])

    assert caught.value.code == "deploy.failed"
    assert site.host(2).address in caught.value.message
    assert site.host(1).address not in caught.value.message
    assert (await site.deployer().run(KVM, [await site.machine(site.by_key(2))])).changed > 0


async def test_package_that_is_missing_and_cannot_be_had_is_named(site: Site) -> None:
    site.on(2, "dpkg", "--purge", "--force-depends", "libvirt-clients")

    with pytest.raises(CairnError, match="lacks the packages libvirt-clients") as caught:
        await site.deployer().run(KVM, [await site.machine(site.by_key(2))])

    assert caught.value.code == "deploy.failed"


async def test_wrong_password_is_a_login_failure_before_anything_is_done(site: Site) -> None:
    target = SshTarget(host=site.host().address, password="wrong")
    with pytest.raises(CairnError) as by_login:
        await site.pin(target)
    with pytest.raises(CairnError) as by_run:
        await site.deployer().run(KVM, [await site.machine(target)])

    assert by_login.value.code == "ssh.login-failed"
    assert by_run.value.code == "deploy.unreachable"


async def test_host_whose_cable_is_pulled_times_out(site: Site) -> None:
    site.lab.cut("host2")
    try:
        with pytest.raises(CairnError) as caught:
            await reach(site.by_key(2), "other", site.known_hosts, timeout_seconds=1)
        assert caught.value.code in ("ssh.timeout", "ssh.unreachable")
    finally:
        site.lab.mend("host2")


async def test_cancelled_run_leaves_no_process_and_no_secret(site: Site, tmp_path: Path) -> None:
    (tmp_path / "pre.yml").write_text("- name: hang\n  command: sleep 300\n")
    begun = asyncio.Event()

    def heard(step: str, _percent: int) -> None:
        if step == "hang":
            begun.set()

    deployer = site.deployer(OperatorRoles(path=tmp_path))
    run = asyncio.create_task(deployer.run(KVM, [await site.machine(site.by_password())], on_progress=heard))
    await begun.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert list((site.folder / "ansible" / "runs").iterdir()) == []
    assert _own_processes(str(site.folder / "ansible")) == []


async def test_run_that_takes_too_long_is_given_up(site: Site, tmp_path: Path) -> None:
    (tmp_path / "pre.yml").write_text("- name: hang\n  command: sleep 300\n")

    with pytest.raises(CairnError) as caught:
        await site.deployer(OperatorRoles(path=tmp_path)).run(
            KVM, [await site.machine(site.by_key())], timeout_seconds=4
        )

    assert caught.value.code == "deploy.timeout"
    assert _own_processes(str(site.folder / "ansible")) == []


async def test_removed_host_has_no_agent_left_and_removing_again_changes_nothing(site: Site) -> None:
    machine = await site.machine(site.by_key())

    assert (await site.deployer().run(KVM_REMOVE, [machine])).changed > 0
    assert (await site.deployer().run(KVM_REMOVE, [machine])).changed == 0

    with pytest.raises(aiohttp.ClientError):
        await site.ping()
    left = site.on(1, "sh", "-c", "ls -d /opt/cairn* /etc/cairn/* /etc/cairn-lab/boot.d/* /usr/local/lib/cairn*")
    assert left == ""
    assert (await site.deployer().run(KVM, [machine])).changed > 0
    await site.ping()


def _own_processes(mark: str) -> list[str]:
    """Command lines on this machine that name a folder of ours."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                text = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if mark in text:
                found.append(text)
    return found
