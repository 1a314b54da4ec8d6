"""Steps as people follow them: a line each, with a tick and how long it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from msgspec import Struct

from cairn.cli.client import Job
from cairn.cli.output import plain

_CLEAR = "\r\033[K"


class Done(Struct, frozen=True, kw_only=True):
    """A step that was taken, and how long it took."""

    title: str
    seconds: float
    note: str = ""


class Report:
    """Prints a line for each step.

    Args:
        stream: where to; None: nowhere.
        monotonic: the time in seconds.
    """

    def __init__(self, stream: TextIO | None = sys.stderr, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._monotonic = monotonic
        self._is_terminal = stream is not None and stream.isatty()
        self._title = ""
        self._note = ""
        self.done: list[Done] = []

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """A step; it has failed when an exception leaves it."""
        started = self._monotonic()
        self._title, self._note = title, ""
        self._working("")
        try:
            yield
        except BaseException:
            self._line(f"✘ {title} ({self._monotonic() - started:.1f} s)")
            raise
        seconds = self._monotonic() - started
        self.done.append(Done(title=title, seconds=round(seconds, 3), note=self._note))
        self._line(f"✔ {title} ({seconds:.1f} s)" + (f": {self._note}" if self._note else ""))

    def note(self, text: str) -> None:
        """Say what came of the step under way, for its line."""
        self._note = text

    def progress(self, done: int, count: int) -> None:
        """Say how far the step under way is: so many of `count`."""
        self._working(f": {done} of {count}")

    def watch(self, job: Job) -> None:
        """How a job of the step under way gets on. `Watcher`."""
        if job.progress is not None:
            self._working(f": {job.progress.step} ({job.progress.percent} %)")

    def _working(self, text: str) -> None:
        if self._is_terminal and self._stream is not None:
            self._stream.write(f"{_CLEAR}… {plain(self._title + text)}")
            self._stream.flush()

    def _line(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(f"{_CLEAR if self._is_terminal else ''}{plain(text)}\n")
            self._stream.flush()
