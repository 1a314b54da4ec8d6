"""The local storage plugin, put together."""

from __future__ import annotations

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.plugins.local_storage.caches import HostCaches
from cairn.plugins.local_storage.driver import LocalStorageDriver
from cairn.plugins.local_storage.model import TYPE
from cairn.plugins.local_storage.service import LocalStorageService
from cairn.services.host.extensions import HostConnected, HostRemoval
from cairn.services.host.provided import HostAgents
from cairn.services.primary_storage.extensions import PrimaryStorageDriver


def build(node: NodeContext) -> None:
    """Make the service and the driver."""
    agents = node.need(HostAgents)
    caches = HostCaches(node.store, node.ids, node.queues, agents)
    driver = LocalStorageDriver(node.store, node.ids, node.config, agents, caches)
    node.extensions.provide(PrimaryStorageDriver, driver, name=TYPE)
    node.extensions.provide(HostConnected, driver, name="local_storage")
    node.extensions.provide(HostRemoval, driver, name="local_storage")
    node.bus.serve(LocalStorageService(node.jobs, node.tags))


MANIFEST = Manifest(
    package="cairn.plugins.local_storage",
    doc="Primary storage on each host's own disk.",
    build=build,
    requires=("zone", "host", "image", "primary_storage", "volume"),
)
