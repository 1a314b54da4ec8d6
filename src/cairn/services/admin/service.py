"""The admin service: answers the API's calls about the node itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import metadata

from msgspec import structs

from cairn.kernel.api import Reference
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.handlers import handles
from cairn.kernel.clock import Clock
from cairn.kernel.config import GlobalConfig, GlobalConfigRow
from cairn.kernel.duty import Duties
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.event import EventDelivery, Events
from cairn.kernel.event.turn import duty_of
from cairn.kernel.everywhere import ask_everywhere
from cairn.kernel.flow.engine import FlowEngine
from cairn.kernel.flow.journal import FlowRun, RunState
from cairn.kernel.jobs import Jobs
from cairn.kernel.machine.certificates import Certificates
from cairn.kernel.machine.rotation import Rotation
from cairn.kernel.plugin.manifest import Loaded, Manifest
from cairn.kernel.queue import ResourceQueues
from cairn.kernel.store.store import Store, Tx
from cairn.kernel.takeover import Takeover
from cairn.services.admin.messages import (
    CertificatesAnswer,
    CurrentTime,
    ForgetEventDelivery,
    GetCertificates,
    GetCurrentTime,
    GetNodeQueues,
    GetPlugins,
    GetResourceQueue,
    GetVersion,
    GetWorkflow,
    GetWorkflows,
    NodeQueues,
    PluginsAnswer,
    PluginState,
    PluginView,
    QueuesAnswer,
    QueueView,
    ResetGlobalConfig,
    RetryEventDelivery,
    RetryWorkflowRun,
    RotateAuthority,
    SettleWorkflowRun,
    StepView,
    TellAgain,
    UpdateGlobalConfig,
    Version,
    WorkflowAnswer,
    WorkflowsAnswer,
    WorkflowView,
)

_DISTRIBUTION = "cairn-cloud"
#: for another node's part of an answer
_ANSWER_SECONDS = 2.0


class AdminService:
    """Answers the messages about the node itself."""

    def __init__(
        self,
        store: Store,
        jobs: Jobs,
        flows: Callable[[], FlowEngine],
        takeover: Callable[[], Takeover],
        settings: GlobalConfig,
        queues: ResourceQueues,
        clock: Clock,
        loaded: Callable[[], Loaded],
        events: Events,
        troubles: Mapping[str, str],
        certificates: Certificates,
        rotation: Rotation,
        bus: Bus,
        duties: Duties,
    ) -> None:
        self._store = store
        self._bus = bus
        self._duties = duties
        self._jobs = jobs
        self._flows = flows
        self._takeover = takeover
        self._settings = settings
        self._queues = queues
        self._clock = clock
        self._loaded = loaded
        self._troubles = troubles
        self._events = events
        self._certificates = certificates
        self._rotation = rotation

    # -- settings -------------------------------------------------------------------------------------------------

    @handles(UpdateGlobalConfig)
    async def update_config(self, message: UpdateGlobalConfig) -> Reference:
        """Change a setting, effective at once."""

        def fn(tx: Tx) -> Reference:
            return Reference(uuid=self._settings.set(tx, message.category, message.name, message.value))

        return await self._jobs.commit(fn)

    @handles(ResetGlobalConfig)
    async def reset_config(self, message: ResetGlobalConfig) -> None:
        """Give settings their defaults again."""

        def fn(tx: Tx) -> None:
            for row in self._rows(tx, message.category, message.name):
                self._settings.set(tx, row.category, row.name, row.default_value)

        await self._jobs.commit(fn)

    def _rows(self, tx: Tx, category: str | None, name: str | None) -> list[GlobalConfigRow]:
        rows = [
            row for row in tx.find(GlobalConfigRow) if category in (None, row.category) and name in (None, row.name)
        ]
        if not rows:
            self._settings.find(category or "", name or "")  # its error names the settings that exist
        return rows

    # -- workflows ------------------------------------------------------------------------------------------------

    @handles(RetryWorkflowRun)
    async def retry_run(self, message: RetryWorkflowRun) -> None:
        """Try a failed undo again."""
        if await self._takeover().retry(message.uuid):
            return
        row = await self._store.read(lambda tx: tx.get(FlowRun, message.uuid))
        errors = row.undo_errors if row else {}
        told = "; ".join(f"{step}: {error}" for step, error in errors.items())
        raise CairnError(
            "workflow.undo-failed",
            f"The undo of {row.workflow if row else message.uuid} failed again. {told}. Put that right and retry, or undo "
            "it by hand and settle the run.",
            kind=ErrorKind.UNAVAILABLE,
            details={"errors": errors},
        )

    @handles(SettleWorkflowRun)
    async def settle_run(self, message: SettleWorkflowRun) -> None:
        """Forget a failed undo; one that is gone is success."""
        row = await self._store.read(lambda tx: tx.get(FlowRun, message.uuid))
        if row is not None and row.state is not RunState.UNDO_FAILED:
            raise CairnError(
                "workflow.still-running",
                f"The run {row.uuid} of {row.workflow} is {row.state.value}; only one whose undo failed can be settled. "
                "Cancel its job instead.",
                kind=ErrorKind.CONFLICT,
            )
        await self._takeover().settle(message.uuid)

    @handles(GetWorkflow)
    async def workflow(self, message: GetWorkflow) -> WorkflowAnswer:
        """Show one workflow's effective list."""
        return WorkflowAnswer(inventory=self._view(message.name))

    @handles(GetWorkflows)
    async def workflows(self, message: GetWorkflows) -> WorkflowsAnswer:
        """Show the effective lists of all workflows, by name."""
        return WorkflowsAnswer(inventories=[self._view(name) for name in self._flows().book.names()])

    def _view(self, name: str) -> WorkflowView:
        plan = self._flows().book.effective(name)
        pairs = zip(plan.entries, plan.steps, strict=True)
        return WorkflowView(
            name=name,
            doc=plan.workflow.doc,
            steps=[StepView(name=entry.step, title=step.title, origin=entry.origin) for entry, step in pairs],
        )

    # -- events ---------------------------------------------------------------------------------------------------

    @handles(RetryEventDelivery)
    async def retry_delivery(self, message: RetryEventDelivery) -> None:
        """Have an event told again that was set aside, by the node that tells the subscriber."""
        row = await self._store.read(lambda tx: tx.get(EventDelivery, message.uuid))
        if row is not None:
            await self._bus.call(TellAgain(duty=duty_of(row.subscriber), delivery=row.uuid))

    @handles(TellAgain)
    async def tell_again(self, message: TellAgain) -> None:
        """Tell of an event again; this node tells its subscriber."""
        await self._events.tell_again(message.delivery)

    @handles(ForgetEventDelivery)
    async def forget_delivery(self, message: ForgetEventDelivery) -> None:
        """Remove an event that was set aside."""
        await self._events.forget(message.uuid)

    # -- the node -------------------------------------------------------------------------------------------------

    @handles(GetVersion)
    async def version(self, message: GetVersion) -> Version:
        """Tell the version of the software."""
        return Version(version=metadata.version(_DISTRIBUTION))

    @handles(GetCurrentTime)
    async def current_time(self, message: GetCurrentTime) -> CurrentTime:
        """Tell the node's time of day."""
        milliseconds = int(self._clock.now().timestamp() * 1000)
        return CurrentTime(current_time={"MillionSeconds": milliseconds, "Seconds": milliseconds // 1000})

    @handles(GetResourceQueue)
    async def queues(self, message: GetResourceQueue) -> QueuesAnswer:
        """List the queues in which something runs or waits, on all nodes."""
        asked = GetNodeQueues(prefix=message.prefix)
        answers = await ask_everywhere(self._bus, self._duties, asked, timeout_seconds=_ANSWER_SECONDS)
        return QueuesAnswer(
            inventories=[
                QueueView(node_uuid=node, **structs.asdict(queue))
                for node, answer in answers.found.items()
                for queue in answer.queues
            ],
            silent={str(node): error.message for node, error in answers.silent.items()},
        )

    @handles(GetNodeQueues)
    async def node_queues(self, message: GetNodeQueues) -> NodeQueues:
        """List the queues of this node."""
        return NodeQueues(queues=self._queues.inspect(message.prefix))

    @handles(GetCertificates)
    async def certificates(self, message: GetCertificates) -> CertificatesAnswer:
        """Tell when certificates end, and how far a change of the root is."""
        views, rotation = self._certificates.views(), self._rotation
        return CertificatesAnswer(inventories=views, phase=rotation.phase, behind=await rotation.behind())

    @handles(RotateAuthority)
    async def rotate_authority(self, message: RotateAuthority) -> None:
        """Begin a change of the authority's root."""
        await self._rotation.begin()
        await self._jobs.commit(lambda tx: None)

    @handles(GetPlugins)
    async def plugins(self, message: GetPlugins) -> PluginsAnswer:
        """List the plugins that were loaded, then those that were left out."""
        loaded = self._loaded()
        found = [self._plugin(one) for one in loaded.manifests]
        found += [PluginView(name=one.name, state=PluginState.LEFT_OUT, reason=one.reason) for one in loaded.left_out]
        return PluginsAnswer(inventories=sorted(found, key=lambda view: view.name))

    def _plugin(self, manifest: Manifest) -> PluginView:
        trouble = self._troubles.get(manifest.name)
        state = PluginState.LOADED if trouble is None else PluginState.FAILED
        return PluginView(name=manifest.name, doc=manifest.doc, state=state, reason=trouble)
