"""The protocol between the node and the process that runs Ansible for it: one order in, JSON lines out."""

from __future__ import annotations

from msgspec import Struct


class RunOrder(Struct, frozen=True, kw_only=True):
    """A run of a playbook; the first line of the child's standard input. The end of its input cancels the run."""

    folder: str  #: the run's own folder; everything the run writes is below it
    playbook: str  #: absolute
    inventory: str  #: absolute
    roles: list[str]  #: folders of roles in addition to the playbook's own
    forks: int
    environment: dict[str, str]


class TaskStarted(Struct, frozen=True, tag="task"):
    """A task begins on the machines."""

    name: str
    percent: int  #: 0 to 99, of the tasks that can be counted beforehand


class TaskFailed(Struct, frozen=True, tag="failed"):
    """A task failed on a machine. A rescue block may still mend it: `RunEnded` decides."""

    host: str
    task: str
    message: str
    unreachable: bool = False


class RunEnded(Struct, frozen=True, tag="ended"):
    """The run is over and all its processes are gone. The last line."""

    status: str  #: ansible-runner's: successful, failed, canceled, ...
    ok: dict[str, int] = {}
    changed: dict[str, int] = {}
    failed: dict[str, int] = {}  #: hosts with failed tasks that nothing rescued
    unreachable: dict[str, int] = {}


RunLine = TaskStarted | TaskFailed | RunEnded
