"""The places of runs that this process did not begin: of a former one, or of another node. Kept until the run has ended."""

from __future__ import annotations

from collections.abc import Sequence

from cairn.kernel.flow.journal import FlowRun, RunHead
from cairn.kernel.queue import Place, ResourceQueues


class Places:
    """Places by run. An inner run works in the place of the outer one, unless it has a queue of its own."""

    def __init__(self, queues: ResourceQueues) -> None:
        self._queues = queues
        self._own: dict[str, Place] = {}
        self._outer: dict[str, str] = {}  #: run -> the run in whose place it works

    def take(self, rows: Sequence[RunHead]) -> None:
        """Take the places of these runs, at once. Safe to repeat."""
        by_uuid = {row.uuid: row for row in rows}
        for row in rows:
            outer = by_uuid.get(row.parent_uuid or "")
            if row.queue_key is None or row.uuid in self._own:
                continue
            if outer is not None and outer.queue_key == row.queue_key:
                self._outer[row.uuid] = outer.uuid
                continue
            place = self._queues.keep(row.queue_key, name=row.workflow, job=row.job_uuid, actor=row.actor)
            self._own[row.uuid] = place

    def of(self, row: FlowRun | RunHead) -> Place | None:
        """The place in which a run is to go on; None when none was taken for it."""
        uuid = row.uuid
        while uuid in self._outer:
            uuid = self._outer[uuid]
        return self._own.get(uuid)

    def leave(self, run: str) -> None:
        """Give a run's own place to the next in the queue. Safe to repeat, and for a run that has none."""
        self._outer.pop(run, None)
        place = self._own.pop(run, None)
        if place is not None:
            place.leave()
