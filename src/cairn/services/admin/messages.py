"""API messages about the node itself."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from cairn.kernel.api import Access, ApiCommand, ApiQuery, Http, Reference, Refers, Uuid, action, delete, get
from cairn.kernel.bus.message import Command, Query
from cairn.kernel.deploy.roots import Phase
from cairn.kernel.error import invalid
from cairn.kernel.machine.certificates import CertificateView
from cairn.kernel.queue import QueueReport

SettingPart = Annotated[str, Meta(min_length=1, max_length=255)]


class UpdateGlobalConfig(ApiCommand[Reference], frozen=True, kw_only=True, tag="admin.update-config"):
    """Change a setting, effective at once.

    Errors: ``config.not-found``, ``config.bad-value``; both say what would fit.
    """

    http: ClassVar[Http] = action("/global-configurations/{category}/{name}/actions", "updateGlobalConfig")
    entity: ClassVar[str | None] = "GlobalConfig"

    category: SettingPart
    name: SettingPart
    value: Annotated[str, Meta(max_length=65_536)]


class ResetGlobalConfig(ApiCommand[None], frozen=True, kw_only=True, tag="admin.reset-config"):
    """Give settings their defaults again: one, those of a category, or (without both fields) all.

    Errors: ``config.not-found``, ``config.no-category``.
    """

    http: ClassVar[Http] = action("/global-configurations/actions", "resetGlobalConfig")

    category: SettingPart | None = None
    name: SettingPart | None = None  #: only together with `category`

    def check(self) -> None:
        """A setting is named with its category."""
        if self.name is not None and self.category is None:
            raise invalid("config.no-category", "category", None, "the category of the setting named would fit")


class Version(Struct, frozen=True, kw_only=True):
    """The version of the software that runs."""

    version: str


class GetVersion(ApiQuery[Version], frozen=True, kw_only=True, tag="admin.version"):
    """The version of the software."""

    http: ClassVar[Http] = action("/management-nodes/actions", "getVersion")
    access: ClassVar[Access] = Access.ANYBODY


class CurrentTime(Struct, frozen=True, kw_only=True, rename="camel"):
    """The time since 1970-01-01 UTC, as ``MillionSeconds`` (milliseconds) and ``Seconds``."""

    current_time: dict[str, int]


class DrainManagementNode(ApiCommand[None], frozen=True, kw_only=True, tag="management-node.drain"):
    """Have a node end what it has begun and get nothing new, so that it may be stopped. Safe to repeat.

    It goes on to answer calls. The node takes part again when it is started again, or by `ResumeManagementNode`.

    Errors: ``node.only-one``.
    """

    route: ClassVar[str | None] = "uuid"
    http: ClassVar[Http] = action("/management-nodes/{uuid}/actions", "drainManagementNode")
    entity: ClassVar[str | None] = "ManagementNode"

    uuid: Annotated[Uuid, Refers("ManagementNode")]


class ResumeManagementNode(ApiCommand[None], frozen=True, kw_only=True, tag="management-node.resume"):
    """Have a node that is drained take part again. Safe to repeat."""

    route: ClassVar[str | None] = "uuid"
    http: ClassVar[Http] = action("/management-nodes/{uuid}/actions", "resumeManagementNode")
    entity: ClassVar[str | None] = "ManagementNode"

    uuid: Annotated[Uuid, Refers("ManagementNode")]


class RemoveManagementNode(ApiCommand[None], frozen=True, kw_only=True, tag="management-node.remove"):
    """Forget a node that is dead; others do its work then.

    Nodes forget a dead one by themselves after some seconds; this is for one that is still listed. It watches the node's
    heart for that long first.

    Errors: ``node.still-alive``.
    """

    route: ClassVar[str | None] = "uuid"
    http: ClassVar[Http] = delete("/management-nodes/{uuid}")
    entity: ClassVar[str | None] = "ManagementNode"

    uuid: Annotated[Uuid, Refers("ManagementNode")]

    def frees(self) -> bool:
        """It lets others go on with what the node had."""
        return True


class GetCurrentTime(ApiQuery[CurrentTime], frozen=True, kw_only=True, tag="admin.time"):
    """The node's time of day."""

    http: ClassVar[Http] = action("/management-nodes/actions", "getCurrentTime")
    access: ClassVar[Access] = Access.ANYBODY


class RetryWorkflowRun(ApiCommand[None], frozen=True, kw_only=True, tag="admin.retry-workflow-run"):
    """Try a failed undo again, now. One that has succeeded meanwhile is success.

    Errors: ``workflow.undo-failed`` (with each step's reason), ``workflow.still-running``.
    """

    route: ClassVar[str | None] = "uuid"
    http: ClassVar[Http] = action("/workflow-runs/{uuid}/actions", "retryWorkflowRun")

    uuid: Annotated[Uuid, Refers("WorkflowRun")]

    def frees(self) -> bool:
        """What is undone is given back."""
        return True


class SettleWorkflowRun(ApiCommand[None], frozen=True, kw_only=True, tag="admin.settle-workflow-run"):
    """Forget a failed undo: an operator has put right what it could not.

    Errors: ``workflow.still-running``.
    """

    route: ClassVar[str | None] = "uuid"
    http: ClassVar[Http] = action("/workflow-runs/{uuid}/actions", "settleWorkflowRun")

    uuid: Annotated[Uuid, Refers("WorkflowRun")]

    def frees(self) -> bool:
        """It ends the run."""
        return True


class RetryEventDelivery(ApiCommand[None], frozen=True, kw_only=True, tag="admin.retry-event-delivery"):
    """Tell a subscriber again, now, of an event that was set aside. One that it has taken meanwhile is success.

    The event is told out of turn: later ones of the same resource may have been told before. One that is still owed is tried
    at once, in its turn.

    Errors: ``event-delivery.failed`` (with the subscriber's reason), ``event-delivery.no-subscriber``.
    """

    route: ClassVar[str | None] = "uuid"
    http: ClassVar[Http] = action("/event-deliveries/{uuid}/actions", "retryEventDelivery")

    uuid: Annotated[Uuid, Refers("EventDelivery")]


class ForgetEventDelivery(ApiCommand[None], frozen=True, kw_only=True, tag="admin.forget-event-delivery"):
    """Remove an event that was set aside: nobody needs to be told of it any more.

    Errors: ``event-delivery.owed``.
    """

    route: ClassVar[str | None] = "uuid"
    http: ClassVar[Http] = action("/event-deliveries/{uuid}/actions", "forgetEventDelivery")

    uuid: Annotated[Uuid, Refers("EventDelivery")]


class StepView(Struct, frozen=True, kw_only=True):
    """A line of a workflow's effective list."""

    name: str
    title: str
    origin: str  #: the file that it came from, and how


class WorkflowView(Struct, frozen=True, kw_only=True):
    """A workflow with its effective list."""

    name: str
    doc: str
    steps: list[StepView]


class WorkflowAnswer(Struct, frozen=True, kw_only=True):
    """The workflow that was asked for."""

    inventory: WorkflowView


class WorkflowsAnswer(Struct, frozen=True, kw_only=True):
    """All workflows, by name."""

    inventories: list[WorkflowView]


class GetWorkflow(ApiQuery[WorkflowAnswer], frozen=True, kw_only=True, tag="admin.workflow"):
    """The steps that an operation takes, and where each line came from.

    Errors: ``workflow.not-found``, with the names there are.
    """

    http: ClassVar[Http] = get("/workflows/{name}")
    access: ClassVar[Access] = Access.ADMIN

    name: Annotated[str, Meta(min_length=1, max_length=255)]


class GetWorkflows(ApiQuery[WorkflowsAnswer], frozen=True, kw_only=True, tag="admin.workflows"):
    """All operations with the steps that they take."""

    http: ClassVar[Http] = get("/workflows")
    access: ClassVar[Access] = Access.ADMIN


class QueueView(QueueReport, frozen=True, kw_only=True, rename="camel"):
    """One queue of one node. Different nodes may have queues of the same key for a moment, while one hands it to another."""

    node_uuid: str


class QueuesAnswer(Struct, frozen=True, kw_only=True):
    """The queues in which something runs or waits, of all nodes."""

    inventories: list[QueueView]
    #: nodes that did not answer in time, by uuid, and why: their queues are missing
    silent: dict[str, str] = {}


class NodeQueues(Struct, frozen=True, kw_only=True):
    """The queues of one node."""

    queues: list[QueueReport]


class GetNodeQueues(Query[NodeQueues], frozen=True, kw_only=True, tag="admin.node-queues"):
    """The queues of the node that is asked."""

    prefix: str = ""


class TellAgain(Command[None], frozen=True, kw_only=True, tag="admin.tell-again"):
    """Tell a durable subscriber again of an event, on the node that tells it.

    Errors: those of `RetryEventDelivery`.
    """

    route: ClassVar[str | None] = "duty"

    duty: str  #: to tell that subscriber
    delivery: str  #: the uuid of the `EventDelivery`


class GetResourceQueue(ApiQuery[QueuesAnswer], frozen=True, kw_only=True, tag="admin.queues"):
    """The queues of all nodes: the work under way on each resource, the work that waits, and for how long.

    A node that does not answer within 2 s is named in `silent`.
    """

    http: ClassVar[Http] = get("/resource-queues")
    access: ClassVar[Access] = Access.ADMIN

    prefix: Annotated[str, Meta(max_length=255)] = ""  #: of the queues' keys: ``vm:``


class CertificatesAnswer(Struct, frozen=True, kw_only=True):
    """The certificates of the cloud, by holder, and how far a change of the authority's root is."""

    inventories: list[CertificateView]
    phase: Phase
    #: connected machines, by kind, that have not taken part yet in what is under way; and nodes, as ``management-node``
    behind: dict[str, int]


class RotateAuthority(ApiCommand[None], frozen=True, kw_only=True, tag="admin.rotate-authority"):
    """Change the authority's root, and all certificates with it, while everything runs. One that is under way goes on.

    The job ends when the change has begun; `GetCertificates` says how far it is. A machine that is not connected meanwhile is
    taken back when it is connected again.
    """

    http: ClassVar[Http] = action("/certificates/actions", "rotateAuthority")


class GetCertificates(ApiQuery[CertificatesAnswer], frozen=True, kw_only=True, tag="admin.certificates"):
    """When certificates end: the authority's, the node's, and the first of each kind of machine; how many are overdue."""

    http: ClassVar[Http] = get("/certificates")
    access: ClassVar[Access] = Access.ADMIN


class PluginState(StrEnum):
    """The state of a plugin on this node."""

    LOADED = "Loaded"
    LEFT_OUT = "LeftOut"
    FAILED = "Failed"  #: it is loaded, but a part of it does not run


class PluginView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A service or plugin."""

    name: str
    doc: str | None = None  #: of one that is loaded
    state: PluginState
    reason: str | None = None  #: why it was left out, or what of it does not run


class PluginsAnswer(Struct, frozen=True, kw_only=True):
    """All services and plugins of the node."""

    inventories: list[PluginView]


class GetPlugins(ApiQuery[PluginsAnswer], frozen=True, kw_only=True, tag="admin.plugins"):
    """All services and plugins: loaded, left out and why, or loaded in part and what does not run."""

    http: ClassVar[Http] = get("/plugins")
    access: ClassVar[Access] = Access.ADMIN
