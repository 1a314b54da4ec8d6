"""The kernel's parts for a test of a few services: memory store, transactions at once, virtual clock, seeded ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from cairn.kernel.agent.client import AgentClient
from cairn.kernel.assembly import NodeDependencies, assemble, make_schema
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.transport import NoTransport
from cairn.kernel.clock import Clock
from cairn.kernel.deploy.ansible import Deployer
from cairn.kernel.deploy.authority import Authority
from cairn.kernel.deploy.installer import AgentInstaller
from cairn.kernel.flow.engine import FlowProbe
from cairn.kernel.flow.workflow import WorkflowSource
from cairn.kernel.ids import IdSource, NodeId
from cairn.kernel.jobs import Render
from cairn.kernel.manifest import MANIFEST as KERNEL
from cairn.kernel.metrics import Metrics
from cairn.kernel.plugin.context import NodeContext
from cairn.kernel.plugin.manifest import LeftOut, Loaded, Manifest
from cairn.kernel.query.engine import QueryEngine
from cairn.kernel.ring import Ring
from cairn.kernel.settings import Settings
from cairn.testing.owner import SoleOwner
from cairn.testing.stores import private_store

NODE = NodeId("node")


def no_body(query: QueryEngine) -> Render:
    """Jobs end with an empty body."""
    return lambda tx, message, answer: b"{}"


async def small_context(
    manifests: Sequence[Manifest],
    clock: Clock,
    ids: IdSource,
    *,
    agents: AgentClient | None = None,
    installer: AgentInstaller | None = None,
    render: Callable[[QueryEngine], Render] = no_body,
    probe: FlowProbe | None = None,
    sources: Sequence[WorkflowSource] = (),
    left_out: Sequence[LeftOut] = (),
) -> NodeContext:
    """The kernel and `manifests` (each behind those that it requires), built as a node builds them, and not started.

    Args:
        agents: None where no service of the test calls an agent.
        installer: None where no service of the test puts one on a machine.
        sources: further workflow files.
        left_out: what the node is told that it left out.
    """
    loaded = Loaded(manifests=(KERNEL, *manifests), left_out=left_out)
    store = await private_store(make_schema(loaded), clock, inline=True)
    ring, metrics = Ring(), Metrics()
    ring.set_members([NODE], 1)
    needs = NodeDependencies(
        settings=Settings(data_dir=Path("unused")),
        store=store,
        bus=Bus(NODE, ring, NoTransport(), clock, metrics, ids),
        ring=ring,
        clock=clock,
        ids=ids,
        metrics=metrics,
        agents=cast("AgentClient", agents),
        authority=cast("Authority", None),
        deployer=cast("Deployer", None),
        installer=cast("AgentInstaller", installer),
        render=render,
        owners=SoleOwner(NODE),
        probe=probe,
        sources=sources,
    )
    return await assemble(loaded, needs)


async def stop(node: NodeContext) -> None:
    """End all that the context runs."""
    await node.stop_background()
    await node.jobs.stop()
    await node.flows.stop()
    await node.bus.stop()
    await node.store.close()
