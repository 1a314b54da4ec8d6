"""The local storage plugin, put together."""

from __future__ import annotations

from pathlib import Path

from cairn.kernel.plugin.manifest import Manifest, Parts
from cairn.plugins.local_storage import config
from cairn.plugins.local_storage.driver import TYPE, LocalStorageDriver
from cairn.plugins.local_storage.messages import AddLocalPrimaryStorage
from cairn.plugins.local_storage.model import LocalStorageHost, LocalStorageVolume
from cairn.plugins.local_storage.service import LocalStorageService
from cairn.services.host.extensions import HostConnected, HostRemoval
from cairn.services.primary_storage.extensions import PrimaryStorageDriver


def build(parts: Parts) -> None:
    """Make the plugin's objects."""
    driver = LocalStorageDriver(parts.store, parts.ids, parts.queues, parts.config, parts.extensions)
    parts.extensions.provide(PrimaryStorageDriver, driver, name=TYPE)
    parts.extensions.provide(HostConnected, driver, name="local_storage")
    parts.extensions.provide(HostRemoval, driver, name="local_storage")
    LocalStorageService(parts.bus, parts.jobs, parts.tags)


MANIFEST = Manifest(
    name="local_storage",
    doc="Primary storage on each host's own disk.",
    build=build,
    requires=("primary_storage",),
    records=(LocalStorageHost, LocalStorageVolume),
    api=(AddLocalPrimaryStorage,),
    settings=config.ALL,
    migrations=Path(__file__).parent / "migrations" / "versions",
)
