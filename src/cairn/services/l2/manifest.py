"""The L2 service, put together."""

from __future__ import annotations

from cairn.kernel.api import DeleteMode
from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.host.extensions import HostAgents, HostConnected, HostFilter, HostRemoval
from cairn.services.l2 import config
from cairn.services.l2.extensions import L2Networks
from cairn.services.l2.messages import (
    DeleteL2Network,
    DetachL2NetworkFromCluster,
)
from cairn.services.l2.model import L2NetworkClusterRef
from cairn.services.l2.networks import L2Directory, ReachesNetworks
from cairn.services.l2.realizer import Realizer
from cairn.services.l2.service import L2Service
from cairn.services.l2.steps.attach import RealizeInCluster, RecordAttachment
from cairn.services.l2.steps.detach import CheckUnused, Erase, EraseAttachment, EraseAttachments, RemoveBridges
from cairn.services.l2.steps.realize import Bridges, Realize
from cairn.services.l3.extensions import NetworkChanged


def build(node: NodeContext) -> None:
    """Make the service's objects."""
    realizer = Realizer(
        store=node.store,
        bus=node.bus,
        queues=node.queues,
        agents=lambda: node.extensions.named(HostAgents, "host"),
        parallelism=lambda: node.config.get(config.PARALLELISM),
    )
    L2Service(node.bus, node.jobs, node.lazy_flows(), node.tags, node.config)
    node.extensions.provide(L2Networks, L2Directory(), name="l2")
    node.extensions.provide(HostFilter, ReachesNetworks(node.extensions), name="l2")
    node.extensions.provide(HostConnected, realizer, name="l2")
    node.extensions.provide(HostRemoval, realizer, name="l2")
    bridges = Bridges(node.store, node.clock, node.extensions)
    node.extensions.provide(NetworkChanged, bridges, name="l2")
    node.cascade.register("L2Network", lambda uuid: DeleteL2Network(uuid=uuid, delete_mode=DeleteMode.ENFORCING))
    node.cascade.register_rows(
        L2NetworkClusterRef,
        lambda ref: DetachL2NetworkFromCluster(l2_network_uuid=ref.l2_network_uuid, cluster_uuid=ref.cluster_uuid),
    )
    node.steps += [
        RecordAttachment(node.extensions, realizer),
        RealizeInCluster(node.store, realizer),
        EraseAttachment(node.extensions, realizer),
        CheckUnused(node.store, node.bus, node.extensions),
        RemoveBridges(node.store, realizer),
        EraseAttachments(node.extensions, realizer),
        Erase(node.tags),
        Realize(bridges, realizer),
    ]
    node.background.append(realizer)


MANIFEST = Manifest(
    package="cairn.services.l2",
    doc="Networks of frames: bridges and tunnels on the hosts of clusters.",
    build=build,
    requires=("cluster", "host"),
)
