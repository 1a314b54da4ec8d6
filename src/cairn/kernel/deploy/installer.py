"""Puts any kind of agent on a machine, from the pinned host key to the running service."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from cairn.kernel.deploy.agent import agent_variables
from cairn.kernel.deploy.ansible import Deployer, Progress
from cairn.kernel.deploy.authority import Authority
from cairn.kernel.deploy.inventory import Machine, Variable
from cairn.kernel.deploy.ssh import KnownHosts, SshTarget, reach
from cairn.kernel.deploy.wheels import wheel_set


class AgentInstaller:
    """Installs agents by Ansible.

    Args:
        folder: of keys that people gave for logging in.
        wheels: folder of the wheels; None: where ``make setup`` puts them.
    """

    def __init__(
        self, folder: Path, deployer: Deployer, authority: Authority, known_hosts: KnownHosts, wheels: Path | None
    ) -> None:
        self._folder = folder
        self._deployer = deployer
        self._authority = authority
        self._known_hosts = known_hosts
        self._wheels = wheels

    def target(
        self, uuid: str, host: str, port: int, username: str, password: str | None, private_key: str | None
    ) -> SshTarget:
        """How to log in to a machine; a private key is kept as a file that only the node can read."""
        path = None
        if private_key:
            path = self._folder / f"{uuid}.key"
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(private_key.rstrip("\n") + "\n")
        return SshTarget(host=host, port=port, username=username, password=password, private_key_path=path)

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
        variables = await asyncio.to_thread(self._variables, uuid, target, settings)
        machine = Machine(uuid=uuid, target=target, variables=variables)
        result = await self._deployer.run(playbook, [machine], on_progress=on_progress)
        return result.changed

    async def remove(self, playbook: Path, uuid: str, target: SshTarget) -> None:
        """Have the playbook take the agent away, and forget the machine. Safe to repeat."""
        await reach(target, uuid, self._known_hosts)
        await self._deployer.run(playbook, [Machine(uuid=uuid, target=target)])
        self.forget(uuid)

    def forget(self, uuid: str) -> None:
        """Forget a machine: its pinned key, its certificate, the key to log in. Safe to repeat."""
        self._known_hosts.forget(uuid)
        self._authority.forget_agent(uuid)
        (self._folder / f"{uuid}.key").unlink(missing_ok=True)

    def _variables(self, uuid: str, target: SshTarget, settings: Mapping[str, Variable] | None) -> dict[str, Variable]:
        credentials = self._authority.issue_agent(target.host, uuid, [target.host])
        return agent_variables(credentials, wheel_set(self._wheels), self._deployer.folder / "cache", settings)
