"""Commands that plugins bring to agents.

A plugin that is installed beside the agent names, by an entry point of the group ``cairn.agents``, a function that makes an
object with methods marked by `cairn.agents.commands.handles`::

    [project.entry-points."cairn.agents"]
    audit = "cairn_audit.agent:make"

It is given the role that the agent plays, and may answer None where it has nothing to do.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from cairn.agents import log
from cairn.agents.config import Role
from cairn.agents.protocol.wire import ENTRY_POINTS


def areas_of_plugins(role: Role) -> list[object]:
    """The objects that answer the commands of plugins. One that cannot be made is logged, and left out."""
    found: list[object] = []
    for point in entry_points(group=ENTRY_POINTS):
        try:
            area = point.load()(role)
        except Exception:  # noqa: BLE001 (the agent goes on without one plugin's commands)
            log.exception("agent.plugin-broken", plugin=point.name)
            continue
        if area is not None:
            found.append(area)
    return found
