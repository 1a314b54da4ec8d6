"""A line to the database: one connection for one thread, that is thrown away when it fails and opened anew when it is needed.

A connection whose ROLLBACK failed is in no state that anyone knows. It is closed, which makes the database give up what was
not committed, and the next work gets a new one. So trouble with a connection costs the work that met it, and nothing after it.
A private database in memory is gone with its connection, so that one is kept whatever happens.
"""

from __future__ import annotations

from contextlib import suppress

import structlog

from cairn.kernel.store.driver import Connection, Driver

_log = structlog.get_logger("cairn.store")


class Line:
    """One thread's way to the database. Opened at once, so that a database that cannot be opened is told at the start."""

    def __init__(self, driver: Driver, *, read_only: bool) -> None:
        self._driver = driver
        self._read_only = read_only
        self._open: Connection | None = driver.connect(read_only=read_only)
        self.trouble: BaseException | None = None  #: why the connection was dropped; None again after work was done

    def connection(self) -> Connection:
        """The connection, opened anew if the last one was dropped. It may raise what the database raises."""
        if self._open is None:
            self._open = self._driver.connect(read_only=self._read_only)
        return self._open

    def drop(self, error: BaseException) -> None:
        """Throw the connection away, because of `error`; whatever its closing raises is its own matter."""
        if self.trouble is None:
            _log.error("store.connection-failed", read_only=self._read_only, error=repr(error))
        self.trouble = error
        if self._driver.private:
            return
        dropped, self._open = self._open, None
        if dropped is not None:
            with suppress(Exception):
                dropped.close()

    def worked(self) -> None:
        """Note that the database did what it was asked to."""
        self.trouble = None

    def close(self) -> None:
        """End the line. Safe to repeat."""
        if self._open is not None:
            with suppress(Exception):
                self._open.close()
            self._open = None
