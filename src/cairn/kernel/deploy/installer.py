"""Puts any kind of agent on a machine, from the pinned host key to the running service."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import structlog
from msgspec import Struct
from msgspec.structs import replace

from cairn.kernel.deploy.agent import agent_variables
from cairn.kernel.deploy.ansible import SHARED_ROLES, Deployer, Progress
from cairn.kernel.deploy.authority import Authority, Credentials
from cairn.kernel.deploy.inventory import Machine, Variable
from cairn.kernel.deploy.known_hosts import KnownHosts
from cairn.kernel.deploy.own_key import OwnKey
from cairn.kernel.deploy.pem import BACKDATE
from cairn.kernel.deploy.ssh import SshTarget, authorize, check_login, look, reach, unauthorize
from cairn.kernel.deploy.wheels import wheel_set
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.store.store import Store, Tx

OWN_KEY = "cairn.key"  #: the file of the cloud's own key among those to log in with
_log = structlog.get_logger("cairn.machine")


class Identified(Struct, frozen=True, kw_only=True):
    """Which machine it is, seen before anything is done there."""

    identity: str | None  #: `cairn.agents.protocol.machine`; None: it cannot tell
    fingerprint: str | None = None  #: of the host key that is pinned for it


class AgentInstaller:
    """Installs agents by Ansible.

    Args:
        store: of the cloud.
        folder: this node's copies of the keys to log in with.
        wheels: folder of the wheels; None: where ``make setup`` puts them.
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        deployer: Deployer,
        authority: Authority,
        known_hosts: KnownHosts,
        wheels: Path | None,
    ) -> None:
        self._store = store
        self._folder = folder
        self._deployer = deployer
        self._authority = authority
        self._known_hosts = known_hosts
        self._wheels = wheels
        self._own_key = OwnKey(store, folder / OWN_KEY)
        for copy in folder.glob("*.key"):
            if copy.name != OWN_KEY:  # made anew when it is needed; the machine may be another node's by now
                copy.unlink()
        self._content: dict[Path, str] = {}  #: by playbook: the digest of all that it puts on a machine

    async def target(
        self, uuid: str, host: str, port: int, username: str, password: str | None, private_key: str | None
    ) -> SshTarget:
        """How to log in to a machine; a private key is kept as a file that only the node can read.

        A machine of which neither a password nor a key is known any more is logged in to with the cloud's own key.
        """
        path = None
        if private_key:
            path = self._folder / f"{uuid}.key"
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(private_key.rstrip("\n") + "\n")
        elif not password:
            path = await self._own_key.file()
        return SshTarget(host=host, port=port, username=username, password=password, private_key_path=path)

    async def identify(self, uuid: str, target: SshTarget, fingerprint: str | None = None) -> Identified:
        """Find out which machine it is, changing nothing there. Its host key is pinned. Safe to repeat.

        Args:
            fingerprint: that its host key must have; None: whatever key was pinned, or is shown at first sight.

        Raises:
            CairnError: ``ssh.*``; ``machine.clock-wrong`` when its clock is so far behind that no certificate of today would
                be valid there.
        """
        pinned = await reach(target, uuid, self._known_hosts, expected=fingerprint)
        sight = await look(target, uuid, self._known_hosts)
        behind = self._authority.now() - sight.time
        if sight.time and behind > BACKDATE.total_seconds():
            raise CairnError(
                "machine.clock-wrong",
                f"The clock of the machine at {target.host} is {timedelta(seconds=round(behind))} behind this node's, so that no "
                "certificate would be valid there. Set both clocks (NTP) and try again.",
                kind=ErrorKind.CONFLICT,
            )
        return Identified(identity=sight.identity, fingerprint=pinned)

    async def look_again(self, playbook: Path) -> None:
        """See whether what the playbook puts on machines has changed on this node; `deployment` knows from then on."""
        self._content[playbook] = await asyncio.to_thread(self._digest, playbook)

    def deployment(self, playbook: Path, settings: Mapping[str, Variable]) -> str:
        """A name for all that `install` would put on a machine: another name, another content. Empty: it cannot be told."""
        content = self._content.get(playbook)
        if content is None:  # the first time in this process; some MB are read
            content = self._content[playbook] = self._digest(playbook)
        if not content:
            return ""
        return hashlib.sha256(f"{content} {json.dumps(settings, sort_keys=True)}".encode()).hexdigest()[:16]

    def _digest(self, playbook: Path) -> str:
        """Names and contents of wheels, playbooks and roles; empty without wheels, which `install` will complain of."""
        try:
            digest = hashlib.sha256(wheel_set(self._wheels).checksum.encode())
        except CairnError:
            return ""
        for folder in (playbook.parent, SHARED_ROLES, *self._deployer.operator_folders):
            for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"):
                digest.update(f"{path.relative_to(folder)} ".encode() + hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    async def install(
        self,
        playbook: Path,
        uuid: str,
        target: SshTarget,
        *,
        settings: Mapping[str, Variable] | None = None,
        on_progress: Progress | None = None,
    ) -> int:
        """Have the playbook put the agent there. Returns how many tasks changed something; safe to repeat.

        Raises:
            CairnError: ``ssh.*`` when the machine cannot be logged in to, ``deploy.*`` when the playbook fails.
        """
        await reach(target, uuid, self._known_hosts)
        settings = {**(settings or {}), "deployment": self.deployment(playbook, settings or {})}
        credentials = await self._authority.issue_agent(target.host, uuid, [target.host])
        variables = await asyncio.to_thread(self._variables, credentials, settings)
        machine = Machine(uuid=uuid, target=target, variables=variables)
        result = await self._deployer.run(playbook, [machine], on_progress=on_progress)
        return result.changed

    async def adopt(self, uuid: str, target: SshTarget) -> bool:
        """Have the machine let the cloud's own key in, so that the login that was given can be forgotten. Safe to repeat.

        Only root's is: with the password of another user sudo is asked for its rights.

        Returns:
            Whether the cloud's key was tried, and lets it in.
        """
        own = replace(target, password=None, private_key_path=self._own_key.path)
        if target.username != "root" or target == own:
            return False
        try:
            await authorize(target, uuid, self._known_hosts, await self._own_key.public())
            await check_login(own, uuid, self._known_hosts)
        except CairnError as error:
            _log.warning("machine.login-not-forgotten", uuid=uuid, error=str(error))
            return False
        (self._folder / f"{uuid}.key").unlink(missing_ok=True)
        return True

    async def remove(self, playbook: Path, uuid: str, target: SshTarget) -> None:
        """Have the playbook take the agent away, and forget the machine. Safe to repeat."""
        await reach(target, uuid, self._known_hosts)
        await self._deployer.run(playbook, [Machine(uuid=uuid, target=target)])
        if target.private_key_path == self._own_key.path:
            await unauthorize(target, uuid, self._known_hosts, await self._own_key.public())
        await self._store.write(lambda tx: self.forget(tx, uuid))

    def forget(self, tx: Tx, uuid: str) -> None:
        """Forget a machine: its pinned key, its certificate, the key to log in. Safe to repeat."""
        self._known_hosts.forget(tx, uuid)
        self._authority.forget_agent(tx, uuid)
        tx.after_commit(lambda: (self._folder / f"{uuid}.key").unlink(missing_ok=True))

    def _variables(self, credentials: Credentials, settings: Mapping[str, Variable] | None) -> dict[str, Variable]:
        return agent_variables(credentials, wheel_set(self._wheels), self._deployer.folder / "cache", settings)
