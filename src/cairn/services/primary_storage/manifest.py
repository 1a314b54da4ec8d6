"""Primary storage: the disks that volumes are on."""

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.host.model import Host
from cairn.services.image.provided import ImageSources
from cairn.services.primary_storage.caches import StorageCaches
from cairn.services.primary_storage.filter import StorageFilter
from cairn.services.primary_storage.image_filter import ImageFilter
from cairn.services.primary_storage.messages import DetachPrimaryStorageFromCluster
from cairn.services.primary_storage.model import PrimaryStorageClusterRef
from cairn.services.primary_storage.service import PrimaryStorageService
from cairn.services.primary_storage.usable import UsableStorage


def build(node: NodeContext) -> tuple[UsableStorage]:
    usable = UsableStorage()
    node.bus.serve(PrimaryStorageService(node.jobs, node.extensions))
    node.extensions.add(StorageFilter(usable, node.extensions), name="primary_storage")
    image_filter = ImageFilter(node.need(ImageSources))
    node.extensions.add(image_filter, name="image")
    node.invalidation.on(Host, image_filter.hosts_changed)
    node.extensions.add(StorageCaches(node.store, node.extensions), name="primary_storage")
    node.cascade.register_rows(
        PrimaryStorageClusterRef,
        lambda row: DetachPrimaryStorageFromCluster(
            primary_storage_uuid=row.primary_storage_uuid, cluster_uuid=row.cluster_uuid
        ),
    )
    return (usable,)


MANIFEST = Manifest(
    package="cairn.services.primary_storage",
    build=build,
    requires=("zone", "cluster", "host", "image"),
)
