"""What an operation costs: counted, so that it is the same on every machine, and in seconds of the processor."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

from msgspec import Struct

from cairn.kernel.store.sqlite import SqliteConnection

_METHODS = ("execute", "execute_many", "fetch", "fetch_one")
#: SQLite's machine tells of its steps in bites of so many
_BITE = 10


class Cost(Struct):
    """What was done."""

    statements: int = 0
    steps: int = 0  #: of SQLite's machine, which reads a row in some steps
    calls: int = 0  #: of Python functions

    def of(self) -> dict[str, int]:
        """The numbers by their names."""
        return {"statements": self.statements, "steps": self.steps, "calls": self.calls}


@contextmanager
def counted() -> Iterator[Cost]:
    """Count what is done meanwhile. Takes ten times as long as it would without."""
    cost = Cost()

    def step() -> None:
        cost.steps += _BITE

    def counting(method: Callable[..., object]) -> Callable[..., object]:
        def call(self: SqliteConnection, sql: str, values: object) -> object:
            cost.statements += 1
            self._connection.set_progress_handler(step, _BITE)
            try:
                return method(self, sql, values)
            finally:
                self._connection.set_progress_handler(None, 0)

        return call

    def note(frame: object, event: str, argument: object) -> None:
        cost.calls += event in ("call", "c_call")

    patches = [patch.object(SqliteConnection, name, counting(getattr(SqliteConnection, name))) for name in _METHODS]
    for one in patches:
        one.start()
    sys.setprofile(note)
    try:
        yield cost
    finally:
        sys.setprofile(None)
        for one in patches:
            one.stop()


class Timed:
    """Seconds of the processor; of many tries the best, since all that disturbs makes a try longer."""

    def __init__(self) -> None:
        self.best = float("inf")

    @contextmanager
    def again(self) -> Iterator[None]:
        """One more try."""
        started = time.process_time()
        yield
        self.best = min(self.best, time.process_time() - started)
