"""Networks of frames: bridges and tunnels on the hosts of clusters."""

from collections.abc import Sequence

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.host.model import Host
from cairn.services.host.provided import HostAgents, HostSyncs
from cairn.services.l2.messages import DetachL2NetworkFromCluster
from cairn.services.l2.model import L2NetworkClusterRef
from cairn.services.l2.networks import L2Registry
from cairn.services.l2.provided import L2Networks
from cairn.services.l2.reconciler import L2Reconciler
from cairn.services.l2.service import L2Service


def build(node: NodeContext) -> Sequence[object]:
    syncs = node.need(HostSyncs)
    reconciler = L2Reconciler(
        node.store, node.bus, node.clock, node.queues, node.need(HostAgents), syncs, node.events, node.config
    )
    node.bus.serve(L2Service(node.jobs, node.tags, node.config))
    registry = L2Registry(node.bus, reconciler, syncs)
    node.bus.serve(registry)
    node.provide(L2Networks, registry)
    node.extensions.add(reconciler, name="l2")
    node.cascade.register_rows(
        L2NetworkClusterRef,
        lambda ref: DetachL2NetworkFromCluster(l2_network_uuid=ref.l2_network_uuid, cluster_uuid=ref.cluster_uuid),
    )
    node.invalidation.on(Host, reconciler.hosts_changed)
    node.background.append(reconciler)
    return (reconciler,)


MANIFEST = Manifest(package="cairn.services.l2", build=build, requires=("zone", "cluster", "host"))
