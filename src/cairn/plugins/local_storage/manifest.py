"""Primary storage on each host's own disk."""

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.plugins.local_storage import config
from cairn.plugins.local_storage.caches import HostCaches
from cairn.plugins.local_storage.driver import LocalStorageDriver
from cairn.plugins.local_storage.leftovers import ROUND_SECONDS, Leftovers
from cairn.plugins.local_storage.model import TYPE
from cairn.plugins.local_storage.service import LocalStorageService
from cairn.plugins.local_storage.space import DiskSpace, Touched
from cairn.plugins.local_storage.sums import Sums
from cairn.services.host.provided import FILE_DEBT, HostAgents, HostDebts
from cairn.services.image.provided import ImageSources
from cairn.services.primary_storage.model import ImageCache


def build(node: NodeContext) -> None:
    agents = node.need(HostAgents)
    touched = Touched()
    space = DiskSpace(node.ids, node.config, node.events, touched)
    debts = node.need(HostDebts)
    leftovers = Leftovers(node.store, node.queues, agents, debts, space)
    leftovers.listen(node.loops.every("caches that may be unused", lambda: ROUND_SECONDS, leftovers.look).wake)
    node.loops.every("caches without images", lambda: ROUND_SECONDS, leftovers.sweep, at_once=True, once_per_cloud=True)
    caches = HostCaches(node.store, node.ids, node.queues, agents, node.need(ImageSources), space, leftovers)
    node.invalidation.on(ImageCache, caches.changed)
    driver = LocalStorageDriver(node.store, node.bus, agents, caches, leftovers, space)
    node.bus.serve(driver)
    debts.register(FILE_DEBT, driver.collect)
    node.extensions.add(driver, name=TYPE)
    sums = Sums(node.store, node.clock, space, touched)
    touched.listen(node.loops.every("sums of local storage", lambda: 60.0, sums.gather, at_once=True).wake)
    for setting in (config.OVER_PROVISIONING, config.RESERVED):
        node.config.listen(setting, sums.setting_changed)
    node.bus.serve(LocalStorageService(node.jobs, node.tags))


MANIFEST = Manifest(
    package="cairn.plugins.local_storage",
    build=build,
    requires=("zone", "host", "image", "primary_storage", "vm", "volume"),
)
