"""The host service, put together."""

from __future__ import annotations

from pathlib import Path

from cairn.kernel.api import DeleteMode
from cairn.kernel.plugin.manifest import Manifest, Parts
from cairn.services.host import config
from cairn.services.host.allocator import Allocator
from cairn.services.host.directory import HostDirectory
from cairn.services.host.extensions import HostAgents, HostFilter, HostLedger
from cairn.services.host.messages import ChangeHostState, DeleteHost, ReconnectHost, UpdateHost
from cairn.services.host.model import Host, HostClaim
from cairn.services.host.monitor import HostMonitor
from cairn.services.host.service import DELETE, RECONNECT, HostService
from cairn.services.host.steps.claim import ClaimHost, ReleaseHost
from cairn.services.host.steps.connect import (
    BeginConnect,
    ConnectAgent,
    ConnectNewAgent,
    DeployHost,
    FinishConnect,
    RecordHost,
)
from cairn.services.host.steps.delete import CloseHost, EraseHost, RemoveAgent


def build(parts: Parts) -> None:
    """Make the service's objects."""
    suspects: list[HostMonitor] = []
    directory = HostDirectory(
        parts.store,
        parts.agents,
        parts.queues,
        parts.config,
        parts.extensions,
        lambda host, reason: suspects[0].suspect(host, reason),
    )
    monitor = HostMonitor(
        node=parts.node,
        store=parts.store,
        bus=parts.bus,
        ring=parts.ring,
        clock=parts.clock,
        settings=parts.config,
        events=parts.events,
        extensions=parts.extensions,
        directory=directory,
    )
    suspects.append(monitor)
    allocator = Allocator(lambda: parts.extensions.of(HostFilter))
    HostService(parts.bus, parts.store, parts.jobs, parts.lazy_flows(), directory)
    parts.extensions.provide(HostAgents, directory, name="host")
    parts.extensions.provide(HostLedger, allocator, name="host")
    parts.cascade.register("Host", lambda uuid: DeleteHost(uuid=uuid, delete_mode=DeleteMode.ENFORCING))
    parts.config.listen(config.PARALLELISM, lambda: parts.queues.changed("host:"))
    parts.steps += [
        ClaimHost(allocator),
        ReleaseHost(allocator),
        RecordHost(parts.tags),
        BeginConnect(parts.events),
        DeployHost(directory, parts.extensions),
        ConnectAgent(directory, parts.extensions, parts.report_url),
        ConnectNewAgent(directory, parts.extensions, parts.report_url),
        FinishConnect(parts.config, parts.events),
        CloseHost(parts.extensions),
        RemoveAgent(directory, parts.extensions),
        EraseHost(parts.tags, parts.extensions),
    ]
    parts.background.append(monitor)


MANIFEST = Manifest(
    name="host",
    doc="Machines that run VMs: connecting, watching, choosing one for a VM.",
    build=build,
    requires=("cluster",),
    records=(Host, HostClaim),
    api=(UpdateHost, ChangeHostState, ReconnectHost, DeleteHost),
    settings=config.ALL,
    workflows=(RECONNECT, DELETE),
    workflow_file=Path(__file__).parent / "workflows.toml",
)
