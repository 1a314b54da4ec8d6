"""Reports of agents (what happened on a machine by itself), each kind given to the listener that registered for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from cairn.agents.protocol.wire import Report

Listener = Callable[[Report], Awaitable[None]]

_log = structlog.get_logger("cairn.agent.reports")


class Reports:
    """The listeners for each kind of report."""

    def __init__(self) -> None:
        self._listeners: dict[str, Listener] = {}

    def route(self, kind: str, listener: Listener) -> None:
        """Have `listener` told of all reports of a `kind` (``vm.state``).

        Raises:
            TypeError: this kind has a listener already.
        """
        if kind in self._listeners:
            raise TypeError(f"reports of the kind {kind!r} have a listener already")
        self._listeners[kind] = listener

    async def deliver(self, report: Report) -> None:
        """Tell the listener of a report. An error that it raises goes to the agent, which sends the report again.

        A kind that nobody listens to is logged: the agent may be newer than this node, or a plugin was left out.
        """
        listener = self._listeners.get(report.kind)
        if listener is None:
            _log.info("agent.report-unheard", kind=report.kind, host=report.host)
            return
        await listener(report)
