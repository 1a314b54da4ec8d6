"""Who works in a data folder, whoever started it: the holder of the folder's lock.

A pid file only knows what ``cairn up`` has started. A node that somebody started again by hand has the lock of the folder
(`cairn.kernel.membership.FolderLock`), as long as it lives; its number stands in the lock's file. That number alone proves
nothing, so the process is taken for the holder only if it has that very file open. It is signalled through a handle that
was taken before that look, so that the signal cannot reach another process which has got the number meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from cairn.cli.errors import CliError, refused
from cairn.cli.up.daemon import Sleep, wait_until

GOODBYE_SECONDS = 30.0
_SHOWN = 200  #: characters of a command line


class Holder:
    """The living process that holds a lock.

    Args:
        lock: the file that is locked.
        pid: its number; None: it cannot be seen from here.
        command: its command line, in words.
    """

    def __init__(self, lock: Path, pid: int | None, command: tuple[str, ...]) -> None:
        self.lock = lock
        self.pid = pid
        self.command = command

    def runs(self, word: str) -> bool:
        """Whether it is a program of cairn's: ``serve``, ``simulator``."""
        if f"cairn.{word}.main" in self.command:
            return True
        names = {part.rpartition("/")[2] for part in self.command}
        return word in names and not names.isdisjoint({"cairn", "cairn.cli.main"})

    def stop(self, word: str, *, sleep: Sleep = time.sleep) -> None:  # noqa: TID251 - a command line tool
        """End it, kindly at first, and wait until the lock is free (exit code 1 when it is something else, or stays)."""
        if self.pid is None or not self.runs(word):
            raise self._refused(f"It is no `cairn {word}` that this command may stop.")
        for number in (signal.SIGTERM, signal.SIGKILL):
            _signal(self.lock, self.pid, number)
            if wait_until(lambda: holder(self.lock) is None, GOODBYE_SECONDS, sleep=sleep):
                return
        raise self._refused("It was told to end, and does not.")

    def _refused(self, why: str) -> CliError:
        who = "A process that cannot be seen from here" if self.pid is None else f"Process {self.pid}"
        words = " ".join(" ".join(self.command).split())
        what = f" ({words[:_SHOWN]})" if words else ""
        return refused(
            f"{who}{what} works in {self.lock.parent}. {why} Nothing was deleted. Stop it, and repeat the command.",
            code="up.folder-in-use",
        )


def holder(lock: Path, proc: Path = Path("/proc")) -> Holder | None:
    """The living process that holds the lock; None if none does (exit code 1 when the file cannot be read)."""
    try:
        file = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise refused(f"{lock}: {error.strerror}. Run this as the user whose cloud it is.", code="up.denied") from error
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        pid = _number(file)
        if pid is None or not _has_open(lock, proc / str(pid)):
            return Holder(lock, None, ())
        return Holder(lock, pid, _command(proc / str(pid)))
    else:
        return None
    finally:
        os.close(file)


def _number(file: int) -> int | None:
    text = os.pread(file, 20, 0).decode(errors="replace").strip()
    return int(text) if text.isascii() and text.isdigit() else None


def _has_open(lock: Path, process: Path) -> bool:
    """Whether the process has the file open: this very file, not one of that name."""
    with suppress(OSError):
        return any(_is_same(entry, lock) for entry in (process / "fd").iterdir())
    return False


def _is_same(entry: Path, lock: Path) -> bool:
    with suppress(OSError):
        return os.path.samefile(entry, lock)
    return False


def _command(process: Path) -> tuple[str, ...]:
    with suppress(OSError):
        return tuple(part.decode(errors="replace") for part in (process / "cmdline").read_bytes().split(b"\0") if part)
    return ()


def _signal(lock: Path, pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            if _has_open(lock, Path("/proc") / str(pid)):
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)
