"""Machines whose agent Ansible installs over SSH and which are then called over TLS."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Generic, TypeVar

from cairn.kernel.agent.client import AgentEndpoint
from cairn.kernel.api import ApiCreate
from cairn.kernel.config import GlobalConfig, Setting
from cairn.kernel.deploy.installer import AgentInstaller, Identified
from cairn.kernel.deploy.inventory import Variable
from cairn.kernel.deploy.ssh import SshTarget
from cairn.kernel.error import not_found
from cairn.kernel.flow.engine import report_progress
from cairn.kernel.machine.config import FORGET_LOGIN
from cairn.kernel.machine.kind import MachineDriver
from cairn.kernel.machine.messages import ApiUpdateLogin
from cairn.kernel.machine.model import SshLogin
from cairn.kernel.resource import given_of, taken
from cairn.kernel.store.record import info
from cairn.kernel.store.store import Store, Tx

L = TypeVar("L", bound=SshLogin)


class SshDriver(MachineDriver, Generic[L]):
    """The base of drivers of such machines.

    A class that extends it says:
        record: its rows, which hold how to log in.
        playbook: the one that puts the agent there; ``remove.yml`` in the same folder takes it away.
        port: the setting of the port that the agent listens on.
    """

    record: type[L]
    playbook: Path
    port: Setting[int]

    def __init__(self, store: Store, installer: AgentInstaller, settings: GlobalConfig) -> None:
        self._store = store
        self._installer = installer
        self._settings = settings

    @abstractmethod
    def address(self, tx: Tx, login: L) -> str:
        """Find the machine's address: IPv4, IPv6 or a name."""

    def variables(self, login: L) -> dict[str, Variable]:
        """Make the agent's settings in addition to its port."""
        return {}

    def added(self, tx: Tx, uuid: str, asked: ApiCreate) -> None:
        """Write down the login that the call gives."""
        tx.insert(taken(self.record, asked, uuid=uuid))

    def endpoint(self, tx: Tx, uuid: str) -> AgentEndpoint:
        """The agent at the machine's address; only this machine's certificate is accepted there."""
        return AgentEndpoint(self.base_url(tx, login_of(tx, self.record, uuid)), machine=uuid)

    def base_url(self, tx: Tx, login: L) -> str:
        """Make the URL of the agent, without a slash at the end."""
        address = self.address(tx, login)
        return f"https://{f'[{address}]' if ':' in address else address}:{self._settings.get(self.port)}"

    async def identify(self, uuid: str) -> Identified | None:
        """Look at the machine over SSH, and write down the fingerprint of the host key that is pinned for it."""
        login, target = await self._target(uuid)
        found = await self._installer.identify(uuid, target, login.host_key_fingerprint)
        if found.fingerprint != login.host_key_fingerprint:
            shown = found.fingerprint
            await self._store.write(lambda tx: tx.update(self.record, uuid, host_key_fingerprint=shown))
        return found

    def deployment(self, tx: Tx, uuid: str) -> str:
        """Name what `deploy` would put there: wheels, playbooks, roles, settings."""
        return self._installer.deployment(self.playbook, self._agent_settings(login_of(tx, self.record, uuid)))

    async def look_again(self) -> None:
        """Read wheels, playbooks and roles again."""
        await self._installer.look_again(self.playbook)

    async def deploy(self, uuid: str) -> None:
        """Run the playbook; it changes nothing on a machine that is as it should be. Then forget the login that was given."""
        login, target = await self._target(uuid)
        settings = self._agent_settings(login)

        def progress(task: str, percent: int) -> None:
            report_progress(task, percent / 100)

        await self._installer.install(self.playbook, uuid, target, settings=settings, on_progress=progress)
        given = login.password or login.private_key
        if given and self._settings.get(FORGET_LOGIN) and await self._installer.adopt(uuid, target):
            await self._store.write(lambda tx: self._forget_login(tx, uuid, login))

    def _forget_login(self, tx: Tx, uuid: str, used: L) -> None:
        """Forget password and key, unless others were given meanwhile: the cloud's own key is let in from now on."""
        now = tx.get(self.record, uuid, lock=True)
        if now is not None and (now.password, now.private_key) == (used.password, used.private_key):
            tx.update(self.record, uuid, password=None, private_key=None)

    async def remove(self, uuid: str) -> None:
        """Run the playbook that takes the agent away."""
        _, target = await self._target(uuid)
        await self._installer.remove(self.playbook.with_name("remove.yml"), uuid, target)

    def removed(self, tx: Tx, uuid: str) -> None:
        """Forget the pinned host key, the certificate and the key to log in."""
        self._installer.forget(tx, uuid)

    def _agent_settings(self, login: L) -> dict[str, Variable]:
        return {"port": self._settings.get(self.port), **self.variables(login)}

    async def _target(self, uuid: str) -> tuple[L, SshTarget]:
        def fn(tx: Tx) -> tuple[L, str]:
            login = login_of(tx, self.record, uuid)
            return login, self.address(tx, login)

        login, address = await self._store.read(fn)
        target = await self._installer.target(
            uuid, address, login.ssh_port, login.username, login.password, login.private_key
        )
        return login, target


def login_of(tx: Tx, record: type[L], uuid: str) -> L:
    """Read the login of a machine (``<noun>.not-found``)."""
    row = tx.get(record, uuid)
    if row is None:
        raise not_found(info(record).noun, "uuid", uuid, info(record).title)
    return row


def change_login(tx: Tx, record: type[SshLogin], message: ApiUpdateLogin) -> None:
    """Change those fields of `record` that a message gives; a new password takes the place of a key (``<noun>.not-found``)."""
    login_of(tx, record, message.uuid)
    changed = given_of(record, message)
    if "password" in changed:
        changed.setdefault("private_key", None)
    if changed:
        tx.update(record, message.uuid, **changed)
