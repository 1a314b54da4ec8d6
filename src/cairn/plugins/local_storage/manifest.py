"""The local storage plugin, put together."""

from __future__ import annotations

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.plugins.local_storage.driver import TYPE, LocalStorageDriver
from cairn.plugins.local_storage.service import LocalStorageService
from cairn.services.host.extensions import HostConnected, HostRemoval
from cairn.services.primary_storage.extensions import PrimaryStorageDriver


def build(node: NodeContext) -> None:
    """Make the plugin's objects."""
    driver = LocalStorageDriver(node.store, node.ids, node.queues, node.config, node.extensions)
    node.extensions.provide(PrimaryStorageDriver, driver, name=TYPE)
    node.extensions.provide(HostConnected, driver, name="local_storage")
    node.extensions.provide(HostRemoval, driver, name="local_storage")
    LocalStorageService(node.bus, node.jobs, node.tags)


MANIFEST = Manifest(
    package="cairn.plugins.local_storage",
    doc="Primary storage on each host's own disk.",
    build=build,
    requires=("primary_storage",),
)
