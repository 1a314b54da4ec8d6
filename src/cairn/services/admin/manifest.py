"""The admin service, put together. The kernel's own tables, settings and steps are declared here, as if they were its."""

from __future__ import annotations

from cairn.kernel import membership
from cairn.kernel.cascade import DeleteChildren
from cairn.kernel.config import GlobalConfigRow
from cairn.kernel.event import EventCursor, EventRow
from cairn.kernel.flow.journal import FlowRun
from cairn.kernel.jobs import Job
from cairn.kernel.plugin.manifest import Manifest, Parts
from cairn.services.admin import config
from cairn.services.admin.housekeeping import Housekeeping
from cairn.services.admin.messages import (
    GetCurrentTime,
    GetPlugins,
    GetResourceQueue,
    GetVersion,
    GetWorkflow,
    GetWorkflows,
    ResetGlobalConfig,
    RetryWorkflowRun,
    SettleWorkflowRun,
    UpdateGlobalConfig,
)
from cairn.services.admin.service import AdminService


def build(parts: Parts) -> None:
    """Make the service's objects."""
    AdminService(
        parts.bus,
        parts.store,
        parts.jobs,
        parts.lazy_flows(),
        parts.config,
        parts.queues,
        parts.clock,
        parts.loaded,
    )
    parts.steps.append(DeleteChildren(parts.cascade, parts.store.schema))
    parts.background.append(Housekeeping(parts.clock, parts.store, parts.jobs, parts.events))


MANIFEST = Manifest(
    name="admin",
    doc="The node itself: settings, workflows, queues, plugins, housekeeping.",
    build=build,
    records=(GlobalConfigRow, EventRow, EventCursor, Job, FlowRun, *membership.RECORDS),
    api=(
        UpdateGlobalConfig,
        ResetGlobalConfig,
        GetVersion,
        GetCurrentTime,
        RetryWorkflowRun,
        SettleWorkflowRun,
        GetWorkflow,
        GetWorkflows,
        GetResourceQueue,
        GetPlugins,
    ),
    settings=config.ALL,
)
