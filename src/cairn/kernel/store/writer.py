"""Writers: each a thread with a connection of its own, and the functions that wait for it.

A database that takes several writers is given some (`Driver.writers`), so that one goes on while another waits for the
server. The **first** runs whatever may meet others at the same rows: capacities, addresses, names, settings. There functions run
one after the other, and never wait for each other's locks. What writes the rows of one thing only, as the journal of a
run does, says whose they are (``own``) and goes to one of the **others**, the same for the same thing: so functions of one
thing keep their order, and two writers have nothing to wait for but the numbers of logs, which are taken right before the
commit (`numbering.py`).

Writers of one node know no more of each other than those of several nodes: each has its own `TransactionRunner`.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from cairn.kernel.store.group import TransactionRunner, WorkItem
from cairn.kernel.store.line import Line

#: a commit that takes longer than this is trouble
_SLOW_SECONDS = 30.0
#: is given those that were run together, each with its result, durable, or its error
Answer = Callable[[list[WorkItem[object]]], None]


class Writer:
    """One of them. Its thread runs from `start` to `close`; without, `line` is the caller's."""

    def __init__(self, runner: TransactionRunner, answer: Answer) -> None:
        self.runner = runner
        self.line = Line(runner.driver, read_only=False)
        self._answer = answer
        self._waiting: queue.SimpleQueue[WorkItem[object] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._since: float | None = None  #: by the monotonic clock: when the transaction was begun that is open

    def start(self, name: str) -> None:
        """Begin to work, in a thread of that name."""
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def put(self, item: WorkItem[object]) -> None:
        """Have a function run, behind those that were given before."""
        self._waiting.put(item)

    def look(self) -> None:
        """Have it try whether it can write, if nothing waits for it."""
        if self._waiting.empty():
            self.put(WorkItem(lambda _: None, None))

    def trouble(self) -> str | None:
        """What keeps it from writing now, in a sentence; None: nothing."""
        if self.line.trouble is not None:
            return "the database cannot be written; the log says why"
        if self._thread is not None and not self._thread.is_alive():
            return "the thread that writes to the database has ended"
        since = self._since
        seconds = 0.0 if since is None else self.runner.clock.monotonic() - since
        return f"a commit has taken {seconds:.0f} s so far" if seconds > _SLOW_SECONDS else None

    def finish(self) -> None:
        """End after what was given until now. Safe to repeat."""
        self._waiting.put(None)

    def close(self) -> None:
        """Wait until it has ended, as `finish` asked, and give the connection up. Safe to repeat."""
        if self._thread is not None:
            self._thread.join()
        self.line.close()

    def _work(self) -> None:
        waiting, monotonic = self._waiting, self.runner.clock.monotonic
        while (first := waiting.get()) is not None:
            self._since = monotonic()
            items = self.runner.write(self.line, first, self._next)
            self._since = None
            self._answer(items)

    def _next(self) -> WorkItem[object] | None:
        try:
            item = self._waiting.get_nowait()
        except queue.Empty:
            return None
        if item is None:
            self._waiting.put(None)  # the end is for the thread, after this commit
        return item


class Writers:
    """All writers of a store.

    Args:
        runner: the first one's.
        answer: see `Answer`; called in their threads.
    """

    def __init__(self, runner: TransactionRunner, answer: Answer, *, several: bool = True) -> None:
        self._all = [Writer(runner, answer)]
        try:
            for _ in range(runner.driver.writers - 1 if several else 0):
                self._all.append(Writer(runner.another(), answer))
        except BaseException:
            self.close()
            raise

    @property
    def first(self) -> Writer:
        """Where functions go that may meet others."""
        return self._all[0]

    def of(self, own: str | None) -> Writer:
        """Where a function goes that writes what is `own`ed by one thing; None: it may meet others."""
        if own is None or len(self._all) == 1:
            return self._all[0]
        return self._all[1 + hash(own) % (len(self._all) - 1)]

    def start(self) -> None:
        """Begin to work."""
        for number, writer in enumerate(self._all):
            writer.start(f"store-writer-{number}")

    def trouble(self) -> str | None:
        """What keeps one from writing now, in a sentence; None: nothing.

        One that is in trouble and has nothing to do is given something, or it would not know that the trouble is over.
        """
        found: str | None = None
        for writer in self._all:
            trouble = writer.trouble()
            if trouble is not None and writer is not self.first:
                writer.look()
            found = found or trouble
        return found

    def finish(self) -> None:
        """Have all end after what they were given until now. Safe to repeat."""
        for writer in self._all:
            writer.finish()

    def close(self) -> None:
        """Wait until all have ended, and give their connections up. Safe to repeat."""
        for writer in self._all:
            writer.close()
