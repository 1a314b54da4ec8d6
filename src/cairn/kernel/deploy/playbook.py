"""The process that runs Ansible for the node: ``python -m cairn.kernel.deploy.playbook``.

Why a process of its own: ansible-runner blocks, forks (which would stop a big node for milliseconds each time) and is
not small. Why it minds its descendants: Ansible's workers are sessions of their own and ssh's control masters are
daemons, so killing a process group leaves both behind. This process is therefore their reaper (Linux'
"child subreaper"): whatever they do, they stay its descendants, and it kills them all when it is told to stop, when
its standard input ends (the node died), and after every run.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import ansible_runner
import msgspec
import yaml

from cairn.kernel.deploy.order import RunEnded, RunLine, RunOrder, TaskFailed, TaskStarted

_PR_SET_CHILD_SUBREAPER = 36
_MESSAGE_LIMIT = 1000  # characters of a failure's message
_LINES_LIMIT = 8  # of a program's output: its end
_SWEEP_SECONDS = 0.1

#: An event as ansible-runner tells it: its own JSON.
Event = Mapping[str, object]


class Narrator:
    """Turns ansible-runner's events into lines for the node.

    Args:
        output: where the lines go.
        tasks: how many tasks the run can have at most; 0: the percentage stays 0.
    """

    def __init__(self, output: BinaryIO, tasks: int) -> None:
        self._output = output
        self._tasks = tasks
        self._started = 0
        self._stats: dict[str, dict[str, int]] = {}

    def event(self, event: Event) -> bool:
        """Write a line if `event` matters. Answers False: ansible-runner need not keep it in a file."""
        data = msgspec.convert(event.get("event_data") or {}, dict[str, object])
        match event.get("event"):
            case "playbook_on_task_start" | "playbook_on_handler_task_start":
                self._started += 1
                percent = min(99, 100 * (self._started - 1) // self._tasks) if self._tasks else 0
                self._say(TaskStarted(_task_name(data), percent))
            case "runner_on_failed" if not data.get("ignore_errors"):
                self._say(TaskFailed(str(data.get("host")), _task_name(data), explain(_result(data))))
            case "runner_on_unreachable":
                message = explain(_result(data))
                self._say(TaskFailed(str(data.get("host")), _task_name(data), message, unreachable=True))
            case "playbook_on_stats":
                self._stats = {
                    key: msgspec.convert(data.get(key) or {}, dict[str, int])
                    for key in ("ok", "changed", "failures", "dark")
                }
        return False

    def end(self, status: str) -> None:
        """Write the last line: how the run ended, and for each host how many tasks did what."""
        stats = self._stats
        self._say(
            RunEnded(
                status,
                ok=stats.get("ok", {}),
                changed=stats.get("changed", {}),
                failed=stats.get("failures", {}),
                unreachable=stats.get("dark", {}),
            )
        )

    def _say(self, line: RunLine) -> None:
        with suppress(BrokenPipeError):  # the node is gone; the end of standard input says so too
            self._output.write(msgspec.json.encode(line) + b"\n")
            self._output.flush()


def explain(result: Mapping[str, object]) -> str:
    """The sentence in a module's result: its message, and the end of what the failed program said."""
    items = result.get("results")
    if isinstance(items, list):
        failed = [item for item in items if isinstance(item, dict) and item.get("failed")]
        if failed:
            return explain(failed[0])
    parts = [_one_line(str(result["msg"]))] if result.get("msg") else []
    for key in ("stderr", "module_stderr", "stdout", "module_stdout"):
        text = _one_line(str(result.get(key) or ""))
        if text and text not in parts:
            parts.append(text)
            break
    return ": ".join(parts)[-_MESSAGE_LIMIT:] or "no message"


def _one_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-_LINES_LIMIT:])


def count_tasks(playbook: Path, roles: list[Path]) -> int:
    """How many tasks the playbook and the roles it imports have, blocks counted by their contents."""
    files: set[tuple[str, str]] = set()
    found = 0
    for play in _load(playbook):
        for section in ("pre_tasks", "tasks", "post_tasks"):
            found += _count(play.get(section), files)
    for role, file in files:
        folders = [folder / role / "tasks" for folder in (playbook.parent / "roles", *roles)]
        path = next((folder / f"{file}.yml" for folder in folders if folder.is_dir()), None)
        found += _count(_load(path), set()) if path else 0
    return found


def _load(path: Path) -> list[dict[str, object]]:
    """A file of plays or tasks. Nothing but text, lists and mappings; a wrong file is for Ansible to complain about."""
    try:
        content = yaml.load(path.read_text(), Loader=yaml.BaseLoader)  # noqa: S506  makes nothing but plain values
    except (OSError, yaml.YAMLError):
        return []
    return [entry for entry in content if isinstance(entry, dict)] if isinstance(content, list) else []


def _count(tasks: object, roles: set[tuple[str, str]]) -> int:
    """The tasks in a list; the roles that it imports, with their task files, are added to `roles`."""
    found = 0
    for task in tasks if isinstance(tasks, list) else []:
        if not isinstance(task, dict):
            continue
        role = task.get("ansible.builtin.import_role")
        if isinstance(role, dict):
            roles.add((str(role.get("name", "")), str(role.get("tasks_from", "main"))))
        elif "block" in task:
            found += sum(_count(task.get(part), roles) for part in ("block", "always"))
        else:
            found += 1
    return found


def _task_name(data: Mapping[str, object]) -> str:
    return str(data.get("task") or data.get("name") or "a task").rpartition(" : ")[2]


def _result(data: Mapping[str, object]) -> Mapping[str, object]:
    result = data.get("res")
    return result if isinstance(result, dict) else {}


def descendants(root: int, proc: Path = Path("/proc")) -> list[int]:
    """All processes below `root` that still run (zombies do not)."""
    children: dict[int, list[tuple[int, str]]] = {}
    for pid, parent, state in _processes(proc):
        children.setdefault(parent, []).append((pid, state))
    found: list[int] = []
    waiting = [root]
    while waiting:
        for pid, state in children.get(waiting.pop(), []):
            waiting.append(pid)
            if state not in "ZX":
                found.append(pid)
    return found


def _processes(proc: Path) -> Iterator[tuple[int, int, str]]:
    for folder in proc.iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
                yield int(folder.name), int(parent), state


def _sweep() -> None:
    """Kill all descendants; they may fork while this looks, so it looks until none is left."""
    pause = threading.Event()
    while found := descendants(os.getpid()):
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        pause.wait(_SWEEP_SECONDS)


def _read_order() -> RunOrder:
    text = b""
    # Not through sys.stdin: its lock would be held by the thread that watches it when Python shuts down.
    while not text.endswith(b"\n") and (part := os.read(0, 65536)):
        text += part
    return msgspec.json.decode(text, type=RunOrder)


def _watch(cancelled: threading.Event) -> None:
    """End the run when the node closes our input, on purpose or by dying."""
    while os.read(0, 1):
        pass
    cancelled.set()
    _sweep()


def _run(order: RunOrder, narrator: Narrator, cancelled: threading.Event) -> str:
    runner = ansible_runner.run(
        private_data_dir=order.folder,
        ident="run",
        playbook=order.playbook,
        inventory=order.inventory,
        roles_path=order.roles,
        forks=order.forks,
        envvars=order.environment,
        settings={"pexpect_timeout": 1},
        suppress_env_files=True,
        quiet=True,
        event_handler=narrator.event,
        cancel_callback=cancelled.is_set,
    )
    return "canceled" if cancelled.is_set() else str(runner.status)


def main() -> int:
    """Carry out one order; 0 whatever became of the playbook, because the last line tells."""
    order = _read_order()
    lines = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # other output must not get between the lines
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    cancelled = threading.Event()
    threading.Thread(target=_watch, args=(cancelled,), daemon=True).start()
    narrator = Narrator(lines, count_tasks(Path(order.playbook), [Path(role) for role in order.roles]))
    try:
        status = _run(order, narrator, cancelled)
    finally:
        _sweep()
    narrator.end(status)
    return 0


if __name__ == "__main__":
    sys.exit(main())
