"""The host service, put together."""

from __future__ import annotations

from cairn.kernel.api import DeleteMode
from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.host import config
from cairn.services.host.allocator import Allocator
from cairn.services.host.closed import ClosedPlaces
from cairn.services.host.directory import HostDirectory
from cairn.services.host.extensions import HostAgents, HostFilter, HostLedger
from cairn.services.host.messages import DeleteHost
from cairn.services.host.monitor import HostMonitor
from cairn.services.host.service import HostService
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


def build(node: NodeContext) -> None:
    """Make the service's objects."""
    suspects: list[HostMonitor] = []
    directory = HostDirectory(
        node.store,
        node.agents,
        node.queues,
        node.config,
        node.extensions,
        lambda host, reason: suspects[0].suspect(host, reason),
    )
    monitor = HostMonitor(
        node=node.node,
        store=node.store,
        bus=node.bus,
        ring=node.ring,
        clock=node.clock,
        settings=node.config,
        events=node.events,
        extensions=node.extensions,
        directory=directory,
    )
    suspects.append(monitor)
    allocator = Allocator(lambda: node.extensions.of(HostFilter))
    HostService(node.bus, node.store, node.jobs, node.lazy_flows(), directory)
    node.extensions.provide(HostFilter, ClosedPlaces(), name="host")
    node.provide(HostAgents, directory)
    node.extensions.provide(HostAgents, directory, name="host")
    node.extensions.provide(HostLedger, allocator, name="host")
    node.cascade.register("Host", lambda uuid: DeleteHost(uuid=uuid, delete_mode=DeleteMode.ENFORCING))
    node.config.listen(config.PARALLELISM, lambda: node.queues.changed("host:"))
    node.steps += [
        ClaimHost(allocator),
        ReleaseHost(allocator),
        RecordHost(node.tags),
        BeginConnect(node.events),
        DeployHost(directory, node.extensions),
        ConnectAgent(directory, node.extensions, node.report_url),
        ConnectNewAgent(directory, node.extensions, node.report_url),
        FinishConnect(node.config, node.events),
        CloseHost(node.extensions),
        RemoveAgent(directory, node.extensions),
        EraseHost(node.tags, node.extensions),
    ]
    node.background.append(monitor)


MANIFEST = Manifest(
    package="cairn.services.host",
    doc="Machines that run VMs: connecting, watching, choosing one for a VM.",
    build=build,
    requires=("zone", "cluster"),
)
