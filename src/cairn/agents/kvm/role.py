"""The KVM role: puts together the parts that answer a host's commands."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path

import msgspec
from aiohttp import web

from cairn.agents import log
from cairn.agents.blocking import KeyedLocks, in_thread
from cairn.agents.clock import Clock
from cairn.agents.delivery import Delivery
from cairn.agents.disks import Disks
from cairn.agents.downloads import Downloader
from cairn.agents.errors import AgentError
from cairn.agents.facts import Facts, HostState, Identity
from cairn.agents.files import Folders, PreparedFolders
from cairn.agents.kvm.accelerator import Accelerator, Verdict
from cairn.agents.kvm.bridges import BridgeRecord, Bridges
from cairn.agents.kvm.domain_events import DomainEvents
from cairn.agents.kvm.features import Features
from cairn.agents.kvm.filters import TapFilters, TunnelFilter
from cairn.agents.kvm.flat import Flat
from cairn.agents.kvm.flat_config import OUTER_PREFIX, FlatNetwork
from cairn.agents.kvm.forget import HostCleanup
from cairn.agents.kvm.full_disks import FullDisks
from cairn.agents.kvm.hypervisor import Hypervisor
from cairn.agents.kvm.links import Links
from cairn.agents.kvm.metadata_server import NamespaceSockets
from cairn.agents.kvm.vms import VmRecord, Vms
from cairn.agents.kvm.volumes import Volumes
from cairn.agents.programs import ProgramRunner
from cairn.agents.protocol.host import HostFacts
from cairn.agents.protocol.vm import PowerState
from cairn.agents.protocol.wire import Report, Space
from cairn.agents.state import Record, Records
from cairn.agents.storage import Storage


class KvmRole:
    """See `AgentRole`. Everything it keeps is below `data`."""

    def __init__(
        self,
        *,
        data: Path,
        hypervisor: Hypervisor,
        runner: ProgramRunner,
        delivery: Delivery,
        clock: Clock,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._hypervisor = hypervisor
        self._delivery = delivery
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []
        self._state = HostState(Record(data / "host.json", Identity))
        self._accelerator = Accelerator(runner, Record(data / "accelerator.json", Verdict))
        self._features = Features(runner)
        locks = KeyedLocks()
        self._events = DomainEvents(hypervisor, locks, clock, self._report)
        self._full_disks = FullDisks(hypervisor, locks, clock)
        links = Links(runner)
        self._bridges = Bridges(links, Records(data / "bridges", BridgeRecord), (OUTER_PREFIX,), TunnelFilter(runner))
        self._flat = Flat(
            links=links,
            bridges=self._bridges,
            runner=runner,
            records=Records(data / "networks", FlatNetwork),
            folder=data / "dhcp",
            clock=clock,
            sockets=NamespaceSockets(),
        )
        folders = Folders(Record(data / "storage.json", PreparedFolders), data)
        self._disks = Disks(folders, clock)
        filters = TapFilters(runner, self._flat.server_port)
        vms = self._vms = Vms(
            hypervisor=hypervisor,
            accelerator=self._accelerator,
            events=self._events,
            filters=filters,
            locks=locks,
            runner=runner,
            records=Records(data / "vms", VmRecord),
            console_dir=data / "console",
            clock=clock,
        )
        self._areas = (
            Facts(self._state, runner, self._extend_facts),
            HostCleanup(self._state, hypervisor, self._bridges, self._flat, filters),
            Storage(folders, vms.user_of),
            Volumes(folders, Downloader(tls), runner),
            vms,
            self._bridges,
            self._flat,
        )

    @property
    def areas(self) -> Sequence[object]:
        """The objects that answer a host's commands."""
        return self._areas

    @property
    def host(self) -> str | None:
        """The host's uuid, as `Connect` told it."""
        return self._state.host

    async def vms(self) -> dict[str, PowerState]:
        """Ask the hypervisor, each time."""
        return await in_thread(self._hypervisor.states)

    async def spaces(self) -> dict[str, Space]:
        """Measure the folders that volumes and cached images are in."""
        return await self._disks.spaces()

    def add_routes(self, app: web.Application) -> None:
        """A host serves nothing but commands."""

    async def start(self) -> None:
        """Restore bridges, which the networks' servers need, and filters, then watch. The accelerator is probed meanwhile."""
        await self._bridges.restore()
        await self._restore_filters()
        self._tasks.append(asyncio.create_task(self._probe(), name="accelerator"))
        for name, work in (
            ("flat networks", self._flat.run()),
            ("VMs", self._events.run()),
            ("full disks", self._full_disks.run()),
        ):
            task = asyncio.create_task(work, name=f"watch {name}")
            task.add_done_callback(_log_end)
            self._tasks.append(task)

    async def stop(self) -> None:
        """End the watching of VMs and networks; they go on without it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _restore_filters(self) -> None:
        """Guests that go on are filtered by what the kernel has; a libvirtd that is not up yet must not keep the agent down."""
        try:
            await self._vms.restore_filters()
        except AgentError as error:
            log.warning("filters.not-restored", message=error.message)

    async def _probe(self) -> None:
        """Probe the accelerator early, so that the first `Connect` need not wait for it."""
        await self._accelerator.verdict()

    def _report(self, vm: str, state: PowerState, reason: str) -> None:
        host, url = self._state.host, self._state.report_url
        if host is not None and url is not None:
            report = Report(host=host, kind="vm.state", vm=vm, state=state, reason=reason, time=self._clock.time())
            self._delivery.report(url, report)

    async def _extend_facts(self, facts: HostFacts) -> HostFacts:
        libvirt_version, qemu_version = await in_thread(self._hypervisor.versions)
        verdict = await self._accelerator.verdict()
        return msgspec.structs.replace(
            facts,
            accelerator="kvm" if verdict.kvm else "tcg",
            accelerator_note=verdict.note,
            libvirt_version=libvirt_version,
            qemu_version=qemu_version,
            features=await self._features.probe(),
        )


def _log_end(task: asyncio.Task[None]) -> None:
    """A watcher ends only when it is cancelled; anything else is a bug that must not go unseen."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.logger.error("watcher.died", exc_info=error, extra={"fields": {"watcher": task.get_name()}})
