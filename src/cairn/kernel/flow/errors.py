"""The errors that runs of workflows end with, whatever their steps do."""

from __future__ import annotations

import asyncio

import structlog

from cairn.kernel.error import CairnError, ErrorKind, from_record, internal
from cairn.kernel.flow.journal import FlowRun
from cairn.kernel.flow.run import Run

_log = structlog.get_logger("cairn.flow")


def still_running(uuid: str) -> CairnError:
    """``workflow.still-running``: a run is under way."""
    return CairnError(
        "workflow.still-running",
        f"The run {uuid} is under way. Only a run whose undo failed can be tried again, unless that is happening now.",
        kind=ErrorKind.CONFLICT,
    )


def undo_pending(uuid: str, cause: CairnError | None) -> CairnError:
    """``workflow.undo-pending``: a former run in the same queue has to be undone first, and cannot be."""
    return CairnError(
        "workflow.undo-pending",
        f"An earlier operation on this resource is not undone yet, and undoing it failed again (run {uuid}). "
        "It is tried again by itself. Query WorkflowRun for the reason, put that right, and ask again.",
        kind=ErrorKind.CONFLICT,
        details={"undoPending": uuid},
        cause=cause,
    )


def cancelled(row: FlowRun) -> CairnError:
    """``workflow.cancelled``: somebody asked for an end before the run was taken up again."""
    return CairnError(
        "workflow.cancelled",
        f"{row.workflow} was cancelled. Everything that it had done is undone.",
        kind=ErrorKind.CANCELLED,
    )


def stopped(run: Run) -> CairnError:
    """``workflow.stopped``: the node goes down."""
    return CairnError(
        "workflow.stopped",
        f"{run.row.workflow} was not begun: this node is going down. Ask again when it is back.",
        kind=ErrorKind.UNAVAILABLE,
    )


def recorded(row: FlowRun) -> CairnError:
    """What a run failed with, from its journal."""
    return from_record(row.error) if row.error else internal("undo", RuntimeError("no error was recorded"))


def pending(row: FlowRun) -> CairnError:
    """What a run failed with that is not undone yet: its details name the run."""
    error = recorded(row)
    error.details["undoPending"] = row.uuid
    return error


def known(error: BaseException, run: Run) -> CairnError:
    """The error a run failed with, as something that can be kept and answered."""
    if isinstance(error, CairnError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return CairnError(
            "workflow.cancelled",
            f"{run.row.workflow} was cancelled, or its time was up, while {run.title}. Everything that it had done is undone.",
            kind=ErrorKind.CANCELLED,
        )
    _log.error("workflow.bug", workflow=run.row.workflow, exc_info=error)
    return internal(f"{run.row.workflow}, in the step {run.step.name} ({run.title})", error)
