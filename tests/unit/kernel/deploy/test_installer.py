from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from cairn.kernel.deploy import installer as module
from cairn.kernel.deploy.ansible import Deployer, DeployResult
from cairn.kernel.deploy.authority import Authority
from cairn.kernel.deploy.installer import AgentInstaller
from cairn.kernel.deploy.inventory import Machine
from cairn.kernel.deploy.known_hosts import KnownHosts
from cairn.kernel.deploy.own_key import OwnKey
from cairn.kernel.deploy.ssh import Sight, SshTarget
from cairn.kernel.deploy.wheels import WheelSet
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.store.store import Store
from cairn.testing.shared import authority_in, shared_store

PLAYBOOK = Path(__file__).parent / "ansible" / "install.yml"
HOST = "h" * 32


class FakeDeployer:
    """Notes what it is to run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: list[tuple[Path, Machine]] = []
        self.operator_folders: list[Path] = []
        self.refuse: CairnError | None = None

    async def run(self, playbook: Path, machines: Sequence[Machine], *, on_progress: object = None) -> DeployResult:
        if self.refuse is not None:
            raise self.refuse
        self.runs.append((playbook, machines[0]))
        return DeployResult(ok=5, changed=3, seconds=1.0, log_path=self.folder / "log")


class Site:
    def __init__(self, folder: Path, store: Store, authority: Authority) -> None:
        self.deployer = FakeDeployer(folder)
        self.store = store
        self.authority = authority
        self.known_hosts = KnownHosts(store, folder / "known")
        self.keys = folder / "keys"
        self.reached: list[str] = []
        self.sight = Sight(identity="a.b", time=0.0)
        self.installer = self.started(folder)

    def started(self, folder: Path) -> AgentInstaller:
        """The installer of a node that starts."""
        deployer = cast("Deployer", self.deployer)
        return AgentInstaller(self.store, self.keys, deployer, self.authority, self.known_hosts, folder / "wheels")

    async def target(self, private_key: str | None = None) -> SshTarget:
        return await self.installer.target(HOST, "198.18.0.11", 22, "root", "secret", private_key)


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    site = Site(tmp_path, await shared_store(tmp_path / "pki"), await authority_in(tmp_path / "pki"))
    (tmp_path / "a.whl").write_bytes(b"wheel")
    wheels = WheelSet(folder=tmp_path, names=("a.whl",), checksum="c" * 64)

    async def reach(target: SshTarget, uuid: str, known_hosts: KnownHosts, *, expected: str | None = None) -> str:
        site.reached.append(uuid)
        return expected or "fingerprint"

    async def look(target: SshTarget, uuid: str, known_hosts: KnownHosts) -> Sight:
        return site.sight

    monkeypatch.setattr(module, "reach", reach)
    monkeypatch.setattr(module, "look", look)
    monkeypatch.setattr(module, "wheel_set", lambda folder: wheels)
    return site


async def test_private_key_is_a_file_that_only_the_node_can_read(site: Site) -> None:
    target = await site.target("-----BEGIN KEY-----\n\n")

    assert target.private_key_path == site.keys / f"{HOST}.key"
    assert target.private_key_path.read_text() == "-----BEGIN KEY-----\n"
    assert stat.S_IMODE(target.private_key_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(site.keys.stat().st_mode) == 0o700


async def test_without_a_private_key_there_is_no_file(site: Site) -> None:
    assert (await site.target()).private_key_path is None
    assert not site.keys.exists()


async def test_install_reaches_the_machine_first_and_hands_its_certificate_over(site: Site) -> None:
    changed = await site.installer.install(PLAYBOOK, HOST, await site.target(), settings={"port": 1})

    ((playbook, machine),) = site.deployer.runs
    assert changed == 3
    assert site.reached == [HOST]
    assert playbook == PLAYBOOK
    name = site.installer.deployment(PLAYBOOK, {"port": 1})
    assert machine.variables["agent_settings"] == {"port": 1, "deployment": name}
    credentials = await site.authority.issue_agent("198.18.0.11", HOST, ["198.18.0.11"])
    assert machine.variables["agent_certificate"] == credentials.certificate


async def test_removed_agent_is_forgotten(site: Site) -> None:
    target = await site.target("key")
    before = await site.authority.issue_agent("198.18.0.11", HOST, ["198.18.0.11"])

    await site.installer.remove(PLAYBOOK, HOST, target)
    await site.store.write(lambda tx: site.installer.forget(tx, HOST))

    assert site.deployer.runs[0][1].uuid == HOST
    assert not (site.keys / f"{HOST}.key").exists()
    assert (await site.authority.issue_agent("198.18.0.11", HOST, ["198.18.0.11"])).key != before.key


async def test_agent_that_could_not_be_removed_is_not_forgotten(site: Site) -> None:
    target = await site.target("key")
    site.deployer.refuse = CairnError("deploy.failed", "No.", kind=ErrorKind.UNAVAILABLE)

    with pytest.raises(CairnError, match=r"deploy\.failed"):
        await site.installer.remove(PLAYBOOK, HOST, target)

    assert (site.keys / f"{HOST}.key").exists()


async def test_a_machine_is_looked_at_and_its_host_key_told_before_anything_is_done(site: Site) -> None:
    seen = await site.installer.identify(HOST, await site.target())
    given = await site.installer.identify(HOST, await site.target(), "SHA256:given")

    assert (seen.identity, seen.fingerprint, given.fingerprint) == ("a.b", "fingerprint", "SHA256:given")
    assert site.deployer.runs == []


async def test_a_machine_whose_clock_makes_certificates_invalid_is_refused_in_words(site: Site) -> None:
    now = site.authority.now()
    site.sight = Sight(identity="a.b", time=now - 3600)
    await site.installer.identify(HOST, await site.target())
    site.sight = Sight(identity="a.b", time=now - 30 * 3600)

    with pytest.raises(CairnError, match=r"1 day, 6:00:\d\d behind") as caught:
        await site.installer.identify(HOST, await site.target())

    assert caught.value.code == "machine.clock-wrong"


async def test_other_wheels_roles_or_settings_are_another_deployment_once_they_were_looked_at(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "playbooks"
    folder.mkdir()
    playbook = folder / "install.yml"
    playbook.write_text("one")
    first = site.installer.deployment(playbook, {"port": 1})

    assert first == site.installer.deployment(playbook, {"port": 1}) != site.installer.deployment(playbook, {"port": 2})
    playbook.write_text("two")
    assert site.installer.deployment(playbook, {"port": 1}) == first
    await site.installer.look_again(playbook)
    second = site.installer.deployment(playbook, {"port": 1})
    other = WheelSet(folder=tmp_path, names=("a.whl",), checksum="d" * 64)
    monkeypatch.setattr(module, "wheel_set", lambda folder: other)
    await site.installer.look_again(playbook)

    assert len({first, second, site.installer.deployment(playbook, {"port": 1})}) == 3


async def test_without_wheels_nobody_can_say_what_would_be_put_there(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(folder: Path) -> WheelSet:
        raise CairnError("deploy.no-wheels", "None.", kind=ErrorKind.UNAVAILABLE)

    monkeypatch.setattr(module, "wheel_set", none)
    assert site.installer.deployment(PLAYBOOK, {}) == ""


async def test_cloud_s_own_key_takes_the_place_of_root_s_login(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    let_in: list[str] = []
    tried: list[SshTarget] = []

    async def authorize(target: SshTarget, uuid: str, known_hosts: KnownHosts, line: str) -> None:
        let_in.append(line)

    async def check_login(target: SshTarget, uuid: str, known_hosts: KnownHosts) -> None:
        tried.append(target)

    monkeypatch.setattr(module, "authorize", authorize)
    monkeypatch.setattr(module, "check_login", check_login)
    given = await site.target("PRIVATE")

    assert await site.installer.adopt(HOST, given)

    assert not (site.keys / f"{HOST}.key").exists()
    own = await site.installer.target(HOST, "198.18.0.11", 22, "root", None, None)
    assert tried == [own]
    assert own.private_key_path == site.keys / "cairn.key"
    assert len(let_in) == 1
    assert not await site.installer.adopt(HOST, own), "it is used already"
    assert not await site.installer.adopt(HOST, await site.installer.target(HOST, "198.18.0.11", 22, "ann", "pw", None))


async def test_login_is_not_forgotten_where_the_own_key_does_not_log_in(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def authorize(target: SshTarget, uuid: str, known_hosts: KnownHosts, line: str) -> None:
        """Taken, and of no effect: root's keys are elsewhere there."""

    async def check_login(target: SshTarget, uuid: str, known_hosts: KnownHosts) -> None:
        raise CairnError("ssh.login-failed", "no")

    monkeypatch.setattr(module, "authorize", authorize)
    monkeypatch.setattr(module, "check_login", check_login)
    target = await site.target("PRIVATE")
    assert not await site.installer.adopt(HOST, target)
    assert (site.keys / f"{HOST}.key").exists()


async def test_a_node_that_starts_keeps_no_key_but_the_cloud_s_own(site: Site, tmp_path: Path) -> None:
    await site.target("PRIVATE")
    await OwnKey(site.store, site.keys / "cairn.key").public()

    site.started(tmp_path)

    assert [path.name for path in site.keys.iterdir()] == ["cairn.key"]


async def test_a_machine_without_a_login_is_reached_with_the_key_that_another_node_has_made(
    site: Site, tmp_path: Path
) -> None:
    before = await site.installer.target(HOST, "198.18.0.11", 22, "root", None, None)
    made = await OwnKey(site.store, tmp_path / "elsewhere" / "cairn.key").public()
    after = await site.installer.target(HOST, "198.18.0.11", 22, "root", None, None)

    assert (before.private_key_path, after.private_key_path) == (None, site.keys / "cairn.key")
    assert await OwnKey(site.store, site.keys / "cairn.key").public() == made
