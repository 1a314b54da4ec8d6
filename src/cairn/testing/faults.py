"""A plugin for tests: the node kills its own process, as ``kill -9`` does, at a place in a workflow that a file names.

Loaded by ``CAIRN_PLUGINS_EXTRA=cairn.testing.faults``. The file is ``faults`` in the data folder; it holds a line as
``vm.create step vm.start-on-host before`` or ``vm.create journal 3 after`` (the third journal write of such runs since the file
is there), and goes before the process does, so that the next life is spared. Without the file nothing happens.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from msgspec import Struct

from cairn.kernel.flow.engine import FlowProbe
from cairn.kernel.flow.step import AnyStep
from cairn.kernel.plugin.manifest import Manifest, NodeContext

FILE = "faults"


class Fault(Struct, frozen=True, kw_only=True):
    """Where the process ends."""

    workflow: str
    kind: str  #: step or journal
    place: str  #: the step's name, or the number of the write, from 1
    moment: str  #: before or after

    @classmethod
    def parse(cls, line: str) -> Fault:
        """The fault that a line names (`ValueError` when it names none)."""
        workflow, kind, place, moment = line.split()
        if kind not in ("step", "journal") or moment not in ("before", "after"):
            raise ValueError(f"found {line!r}; as in 'vm.create step vm.start-on-host before' would fit")
        return cls(workflow=workflow, kind=kind, place=place, moment=moment)

    def line(self) -> str:
        """As the file has it."""
        return f"{self.workflow} {self.kind} {self.place} {self.moment}"


class KillingProbe(FlowProbe):
    """Ends the process where the file says.

    Args:
        file: is looked at each time.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._writes = 0  #: since the file is there

    def journal(self, workflow: str, moment: str) -> None:
        """A journal write begins, or is durable."""
        fault = self._fault()
        if fault is None:
            self._writes = 0
            return
        if moment == "before" and workflow == fault.workflow:
            self._writes += 1
        self._end_at(fault, workflow, "journal", str(self._writes), moment)

    def doing(self, workflow: str, step: AnyStep) -> None:
        """A step begins."""
        self._end_at(self._fault(), workflow, "step", step.name, "before")

    def done(self, workflow: str, step: AnyStep) -> None:
        """A step has done its work, which the journal does not know yet."""
        self._end_at(self._fault(), workflow, "step", step.name, "after")

    def _fault(self) -> Fault | None:
        try:
            return Fault.parse(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def _end_at(self, fault: Fault | None, workflow: str, kind: str, place: str, moment: str) -> None:
        if fault == Fault(workflow=workflow, kind=kind, place=place, moment=moment):
            self._file.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


def build(node: NodeContext) -> None:
    """Watch all workflows."""
    node.flow_probe = KillingProbe(node.settings.data_dir / FILE)


MANIFEST = Manifest(package=__name__, doc="Kills the node where a test says so.", build=build)
