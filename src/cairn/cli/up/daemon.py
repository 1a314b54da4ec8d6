"""Programs that ``cairn up`` leaves running: started detached, found again by their pid files, stopped.

A pid file holds the process's start time too: after a reboot its number may be another program's.

Each program, and all that it starts, has its pid file's name in its environment (`MARK`). By that it is found when the file is
not there, because `up` was killed before it had written it, and so is what a program has left behind that was killed itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from cairn.cli.errors import refused

#: the variable in which each program, and what it starts, has its pid file's name
MARK = "CAIRN_STARTED_AS"
_POLL_SECONDS = 0.1
GOODBYE_SECONDS = 30.0
_LAST_LINES = 15

Sleep = Callable[[float], None]


class PidFile(Struct, frozen=True, kw_only=True):
    """The process that a pid file names."""

    pid: int
    started: str
    url: str


def wait_until(
    condition: Callable[[], bool],
    timeout_seconds: float,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Sleep = time.sleep,  # noqa: TID251 - a command line tool without an event loop
) -> bool:
    """Look until `condition` holds, at least once. Returns whether it did in time."""
    deadline = monotonic() + timeout_seconds
    while not condition():
        if monotonic() >= deadline:
            return False
        sleep(_POLL_SECONDS)
    return True


class Daemon:
    """One background program.

    Args:
        name: ``node``, ``simulator``.
        data_dir: its pid file is ``run/<name>.pid`` there, its output goes to ``log/<name>.log``.
        proc: where the kernel shows processes.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        name: str,
        data_dir: Path,
        proc: Path = Path("/proc"),
        sleep: Sleep = time.sleep,  # noqa: TID251 - a command line tool without an event loop
    ) -> None:
        self.name = name
        self.log = data_dir / "log" / f"{name}.log"
        self._pid_file = data_dir / "run" / f"{name}.pid"
        self._proc = proc
        self._sleep = sleep

    def running(self) -> PidFile | None:
        """The program's process; None if it does not run."""
        try:
            found = msgspec.json.decode(self._pid_file.read_bytes(), type=PidFile)
        except (OSError, msgspec.MsgspecError):
            leaders = (one for one in self._marked() if _leads(one.pid))
            return min(leaders, key=lambda one: int(one.started), default=None)
        return found if self._started(found.pid) == found.started else None

    def start(self, command: Sequence[str], environment: Mapping[str, str], url: str) -> PidFile:
        """Start the program in a session of its own; it outlives this process and its terminal. What a former one left ends."""
        self._pid_file.unlink(missing_ok=True)
        self._end()
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._pid_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.marked(environment),
                cwd="/",
                start_new_session=True,
            )
        made = PidFile(pid=process.pid, started=self._started(process.pid) or "", url=url)
        self._pid_file.write_bytes(msgspec.json.encode(made))
        return made

    def marked(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The environment for what belongs to the program, so that it ends with it: tools that prepare something for it."""
        return {**environment, MARK: str(self._pid_file)}

    def await_ready(self, is_ready: Callable[[], bool], timeout_seconds: float) -> None:
        """Wait until the program answers (exit code 1, with the last lines of its log, when it ends or takes too long)."""
        wait_until(lambda: is_ready() or self.running() is None, timeout_seconds, sleep=self._sleep)
        if is_ready():
            return
        state = "does not answer" if self.running() else "has ended"
        raise refused(
            f"The {self.name} {state}. The end of its log, {self.log}:\n{self.last_lines()}",
            code=f"up.{self.name}-failed",
        )

    def last_lines(self) -> str:
        """The last lines of the program's log."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except OSError:
            return "(there is no log)"
        return "\n".join(f"  {line[:500]}" for line in lines[-_LAST_LINES:])

    def tell(self, number: signal.Signals) -> None:
        """Send the program a signal, if it runs, and do not wait."""
        found = self.running()
        if found is not None:
            self._signal(found.pid, number)

    def stop(self, patience_seconds: float = GOODBYE_SECONDS) -> bool:
        """End the program with all that it has started, kindly at first, and wait for that. Safe to repeat.

        Args:
            patience_seconds: how long it may take before it is killed; 0: it is killed at once.

        Returns:
            Whether it ran.
        """
        found = self.running()
        if found is not None and patience_seconds > 0:
            self._signal(found.pid, signal.SIGTERM)
            wait_until(lambda: self.running() is None, patience_seconds, sleep=self._sleep)
        self._end(*([] if found is None else [found]))
        self._pid_file.unlink(missing_ok=True)
        return found is not None

    def _end(self, *more: PidFile) -> None:
        """Kill what the program has left behind, and `more`; wait until all of it is gone."""
        left = {one.pid: one.started for one in (*more, *self._marked())}
        for pid, started in left.items():
            if self._started(pid) == started:
                self._signal(pid, signal.SIGKILL)

        def is_gone() -> bool:
            return all(self._started(pid) != started for pid, started in left.items())

        if not wait_until(is_gone, GOODBYE_SECONDS, sleep=self._sleep):
            raise refused(
                f"Processes of the {self.name} do not end: {', '.join(map(str, left))}.", code=f"up.{self.name}-stays"
            )

    def _marked(self) -> Iterator[PidFile]:
        """The processes that the program consists of, as their environment says."""
        mark = f"{MARK}={self._pid_file}".encode()
        for entry in self._proc.iterdir():
            if not entry.name.isdigit():
                continue
            with suppress(OSError):
                marked = mark in (entry / "environ").read_bytes().split(b"\0")
                if marked and (started := self._started(int(entry.name))) is not None:
                    yield PidFile(pid=int(entry.name), started=started, url="")

    def _signal(self, pid: int, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    def _started(self, pid: int) -> str | None:
        """When the process started, in the kernel's ticks; None when it is gone, or a zombie."""
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        try:
            fields = (self._proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in ("Z", "X") else fields[19]


def _leads(pid: int) -> bool:
    """Whether it is a process that was started on its own, and no part of another."""
    with suppress(ProcessLookupError):
        return os.getsid(pid) == pid
    return False
