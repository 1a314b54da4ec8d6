"""The agent, put together: role, tasks, delivery, server. The one place that knows every part."""

from __future__ import annotations

import asyncio
import signal
import ssl
import uuid
from pathlib import Path

from aiohttp import web

from cairn.agents import log
from cairn.agents.clock import Clock, SystemClock
from cairn.agents.commands import Registry
from cairn.agents.config import AgentConfig, Role
from cairn.agents.delivery import Delivery, HttpPoster
from cairn.agents.epochs import Epochs
from cairn.agents.plugins import areas_of_plugins
from cairn.agents.programs import SubprocessRunner
from cairn.agents.protocol.machine import identity_here
from cairn.agents.protocol.wire import KEEP_ALIVE_SECONDS, Pong
from cairn.agents.role import AgentRole, version
from cairn.agents.server import Server
from cairn.agents.state import Record
from cairn.agents.tasks import TaskTable
from cairn.agents.trust import RevokedSerials, Trust


class Agent:
    """One agent in one role. `start`, then `stop`."""

    def __init__(self, config: AgentConfig, role: Role, clock: Clock | None = None) -> None:
        self._config = config
        self._kind = role
        clock = clock or SystemClock()
        self._boot = uuid.uuid4().hex
        self._clock = clock
        self._machine = identity_here()
        self._trust = Trust(config.tls, Record(Path(config.data_dir) / "revoked.json", RevokedSerials))
        self._poster = HttpPoster(self._trust.for_nodes())
        self._delivery = Delivery(self._poster, clock)
        self._role = make_role(config, role, self._delivery, clock, self._trust.for_machines())
        self._tasks = TaskTable(
            Registry((*self._role.areas, self._trust, *areas_of_plugins(role))),
            self._delivery,
            clock,
            Epochs(Path(config.data_dir) / "epochs"),
        )
        server = Server(self._tasks, self._pong, trusted=config.tls is None)
        self._role.add_routes(server.app)
        self._runner = web.AppRunner(
            server.app, access_log=None, shutdown_timeout=2.0, keepalive_timeout=KEEP_ALIVE_SECONDS
        )

    async def start(self) -> None:
        """Bring back what should be on the machine, then listen."""
        await self._role.start()
        await self._runner.setup()
        tls = self._trust.for_listening()
        port = self._config.listen_port(self._kind)
        await web.TCPSite(self._runner, self._config.address, port, ssl_context=tls).start()
        log.info(
            "agent.listens",
            role=self._kind.value,
            address=self._config.address,
            port=port,
            tls=tls is not None,
            version=version(),
        )

    async def stop(self) -> None:
        """Stop listening, and give up the tasks that run. VMs and networks go on."""
        await self._runner.cleanup()
        await self._tasks.close()
        await self._role.stop()
        await self._delivery.close()
        await self._poster.close()
        log.info("agent.stopped")

    async def _pong(self) -> Pong:
        vms = {vm: state.value for vm, state in (await self._role.vms()).items()}
        return Pong(
            host=self._role.host,
            version=version(),
            boot=self._boot,
            vms=vms,
            machine=self._machine,
            deployment=self._config.deployment,
            certificate_ends=self._trust.certificate_ends,
            issuer=self._trust.issuer,
            trust=self._trust.roots,
            revocation=self._trust.revocation,
            time=self._clock.time(),
            folders=await self._role.spaces(),
        )


def make_role(
    config: AgentConfig, role: Role, delivery: Delivery, clock: Clock, tls: ssl.SSLContext | None
) -> AgentRole:
    """The role's object. libvirt is imported here, and only for KVM."""
    data = Path(config.data_dir)
    # dnsmasq, as the user nobody, reads its files below; secrets are in files of mode 0600.
    data.mkdir(parents=True, exist_ok=True, mode=0o711)
    match role:
        case Role.KVM:
            from cairn.agents.kvm.libvirt_hypervisor import LibvirtHypervisor
            from cairn.agents.kvm.role import KvmRole

            return KvmRole(
                data=data,
                hypervisor=LibvirtHypervisor(config.libvirt_uri),
                runner=SubprocessRunner(),
                delivery=delivery,
                clock=clock,
                tls=tls,
            )
        case Role.BACKUP:
            from cairn.agents.backup.role import BackupRole

            return BackupRole(data=data, config=config, runner=SubprocessRunner(), clock=clock)


async def serve(config: AgentConfig, role: Role) -> None:
    """Run the agent until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    agent = Agent(config, role)
    await agent.start()
    await stop.wait()
    await agent.stop()
