"""How many files a process may have open. A connection is one, too."""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import Final

#: to agents at least
_FEWEST_TO_AGENTS: Final = 4096
_OTHERS: Final = 1_000  #: files at least that are no connections of clients: agents, the database, logs


def open_more(wanted: int) -> int:
    """Let this process have at least so many files open, or as many as the system allows. Returns how many that are.

    The superuser may have as many as it likes; others what their hard limit says (``ulimit -Hn``, ``LimitNOFILE=``).
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return wanted if most == resource.RLIM_INFINITY else most


def connections(wanted: int, files: int) -> int:
    """How many of `wanted` connections a process can have with so many files; some are kept for all else that it opens."""
    return min(wanted, files - max(_OTHERS, files // 10))


def to_agents() -> int:
    """How many connections to agents this process may keep: a quarter of the files that it may have.

    One is kept for each machine that is pinged. Where there are more machines than that, each ping opens a connection, and the
    handshake of TLS costs some sixty times as much as the ping.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(_FEWEST_TO_AGENTS, (1 << 20 if files == resource.RLIM_INFINITY else files) // 4)
