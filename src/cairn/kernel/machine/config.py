"""Settings that every kind of machine has."""

from __future__ import annotations

from typing import NamedTuple

from cairn.kernel.config import Setting

FORGET_LOGIN = Setting(
    "machine",
    "forgetLogin",
    True,
    doc="whether root's password or key of a machine is forgotten once its agent is there, and the cloud's own SSH key is let in",
)


class MachineSettings(NamedTuple):
    """The settings of one kind; a tuple, so that they are found in the module that declares them."""

    parallelism: Setting[int]
    command_timeout: Setting[int]
    ping_interval: Setting[int]
    ping_timeout: Setting[int]
    ping_failures: Setting[int]
    ping_parallelism: Setting[int]
    auto_reconnect: Setting[bool]
    reconnect_max_interval: Setting[int]
    reconnect_parallelism: Setting[int]
    upgrade_parallelism: Setting[int]


def machine_settings(category: str, title: str, *, ping_parallelism: int) -> MachineSettings:
    """Declare the settings of a kind.

    Args:
        category: ``backupStorage``.
        title: what people call such a machine: ``backup storage``.
        ping_parallelism: the default of ``ping.parallelismDegree``.
    """
    return MachineSettings(
        parallelism=Setting(
            category, "parallelism", 10, minimum=1, maximum=1000, doc=f"agent commands that run on a {title} at a time"
        ),
        command_timeout=Setting(
            category,
            "command.timeout",
            300,
            unit="s",
            minimum=1,
            maximum=86_400,
            doc="how long an agent may take for a command",
        ),
        ping_interval=Setting(
            category, "ping.interval", 60, unit="s", minimum=1, maximum=3600, doc=f"between two pings of a {title}"
        ),
        ping_timeout=Setting(
            category, "ping.timeout", 10, unit="s", minimum=1, maximum=600, doc="how long a ping may take"
        ),
        ping_failures=Setting(
            category,
            "ping.maxFailure",
            3,
            minimum=1,
            maximum=100,
            doc=f"failed pings in a row that make a {title} Disconnected",
        ),
        ping_parallelism=Setting(
            category,
            "ping.parallelismDegree",
            ping_parallelism,
            minimum=1,
            maximum=10_000,
            doc=f"{title}s that are pinged at a time",
        ),
        auto_reconnect=Setting(
            category, "connection.autoReconnectOnError", True, doc=f"whether lost {title}s are reconnected"
        ),
        reconnect_max_interval=Setting(
            category,
            "reconnect.maxInterval",
            600,
            unit="s",
            minimum=1,
            maximum=86_400,
            doc=f"the longest wait between two tries to reconnect a {title}",
        ),
        reconnect_parallelism=Setting(
            category,
            "reconnect.parallelismDegree",
            20,
            minimum=1,
            maximum=1000,
            doc=f"lost {title}s that are reconnected at a time",
        ),
        upgrade_parallelism=Setting(
            category,
            "agent.upgrade.parallelismDegree",
            5,
            minimum=0,
            maximum=1000,
            doc=f"{title}s whose agents are upgraded at a time after this node was; 0: only those that somebody reconnects",
        ),
    )
