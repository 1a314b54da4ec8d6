"""Primary storage on each host's own disk."""

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.plugins.local_storage.caches import HostCaches
from cairn.plugins.local_storage.driver import LocalStorageDriver
from cairn.plugins.local_storage.model import TYPE
from cairn.plugins.local_storage.service import LocalStorageService
from cairn.services.host.provided import FILE_DEBT, HostAgents, HostDebts


def build(node: NodeContext) -> None:
    agents = node.need(HostAgents)
    caches = HostCaches(node.store, node.ids, node.queues, agents)
    driver = LocalStorageDriver(node.store, node.ids, node.config, agents, caches)
    node.need(HostDebts).register(FILE_DEBT, driver.collect)
    node.extensions.add(driver, name=TYPE)
    node.bus.serve(LocalStorageService(node.jobs, node.tags))


MANIFEST = Manifest(
    package="cairn.plugins.local_storage",
    build=build,
    requires=("zone", "host", "image", "primary_storage", "vm", "volume"),
)
