"""The L2 service, put together."""

from __future__ import annotations

from pathlib import Path

from cairn.kernel.api import DeleteMode
from cairn.kernel.plugin.manifest import Manifest, Parts
from cairn.services.host.extensions import HostAgents, HostConnected, HostFilter, HostRemoval
from cairn.services.l2 import config
from cairn.services.l2.extensions import L2Networks
from cairn.services.l2.messages import (
    AttachL2NetworkToCluster,
    CreateL2NoVlanNetwork,
    CreateL2VxlanNetwork,
    DeleteL2Network,
    DetachL2NetworkFromCluster,
    UpdateL2Network,
)
from cairn.services.l2.model import L2Network, L2NetworkClusterRef
from cairn.services.l2.networks import L2Directory, ReachesNetworks
from cairn.services.l2.realizer import Realizer
from cairn.services.l2.service import ATTACH, DELETE, DETACH, L2Service
from cairn.services.l2.steps.attach import RealizeInCluster, RecordAttachment
from cairn.services.l2.steps.detach import CheckUnused, Erase, EraseAttachment, EraseAttachments, RemoveBridges
from cairn.services.l2.steps.realize import Bridges, Realize
from cairn.services.l3.extensions import NetworkChanged


def build(parts: Parts) -> None:
    """Make the service's objects."""
    realizer = Realizer(
        store=parts.store,
        bus=parts.bus,
        queues=parts.queues,
        agents=lambda: parts.extensions.named(HostAgents, "host"),
        parallelism=lambda: parts.config.get(config.PARALLELISM),
    )
    L2Service(parts.bus, parts.jobs, parts.lazy_flows(), parts.tags, parts.config)
    parts.extensions.provide(L2Networks, L2Directory(), name="l2")
    parts.extensions.provide(HostFilter, ReachesNetworks(parts.extensions), name="l2")
    parts.extensions.provide(HostConnected, realizer, name="l2")
    parts.extensions.provide(HostRemoval, realizer, name="l2")
    bridges = Bridges(parts.store, parts.clock, parts.extensions)
    parts.extensions.provide(NetworkChanged, bridges, name="l2")
    parts.cascade.register("L2Network", lambda uuid: DeleteL2Network(uuid=uuid, delete_mode=DeleteMode.ENFORCING))
    parts.cascade.register_rows(
        L2NetworkClusterRef,
        lambda ref: DetachL2NetworkFromCluster(l2_network_uuid=ref.l2_network_uuid, cluster_uuid=ref.cluster_uuid),
    )
    parts.steps += [
        RecordAttachment(parts.extensions, realizer),
        RealizeInCluster(parts.store, realizer),
        EraseAttachment(parts.extensions, realizer),
        CheckUnused(parts.store, parts.bus, parts.extensions),
        RemoveBridges(parts.store, realizer),
        EraseAttachments(parts.extensions, realizer),
        Erase(parts.tags),
        Realize(bridges, realizer),
    ]
    parts.background.append(realizer)


MANIFEST = Manifest(
    name="l2",
    doc="Networks of frames: bridges and tunnels on the hosts of clusters.",
    build=build,
    requires=("cluster", "host"),
    records=(L2Network, L2NetworkClusterRef),
    api=(
        CreateL2NoVlanNetwork,
        CreateL2VxlanNetwork,
        UpdateL2Network,
        DeleteL2Network,
        AttachL2NetworkToCluster,
        DetachL2NetworkFromCluster,
    ),
    settings=config.ALL,
    workflows=(ATTACH, DETACH, DELETE),
    workflow_file=Path(__file__).parent / "workflows.toml",
)
