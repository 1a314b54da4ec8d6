"""Images that disks are made from, fetched onto backup storages."""

from cairn.kernel.api import DeleteMode
from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.backup_storage.provided import BackupStorageAgents, BackupStorageDebts
from cairn.services.image.copies import ImageFiles, ImagesOnBackupStorage
from cairn.services.image.messages import DeleteImage, ExpungeImage
from cairn.services.image.provided import ImageSources
from cairn.services.image.service import ImageService
from cairn.services.image.sources import UsableSources
from cairn.services.image.sweeper import ROUND_SECONDS, ImageSweeper


def build(node: NodeContext) -> tuple[object, ...]:
    files = ImageFiles(node.store, node.need(BackupStorageAgents), node.need(BackupStorageDebts), node.config)
    node.bus.serve(ImageService(node.jobs, node.events))
    content = ImagesOnBackupStorage(node.store, node.events, files)
    node.extensions.add(content, name="image")
    node.cascade.register(
        "Image",
        lambda uuid: [DeleteImage(uuid=uuid, delete_mode=DeleteMode.ENFORCING), ExpungeImage(image_uuid=uuid)],
    )
    sweeper = ImageSweeper(node.store, node.bus, node.config, node.ring, node.node)
    node.loops.every("image sweeper", lambda: ROUND_SECONDS, sweeper.sweep)
    sources = UsableSources(node.extensions)
    node.provide(ImageSources, sources)
    return files, sources


MANIFEST = Manifest(package="cairn.services.image", build=build, requires=("backup_storage",))
