"""The audit plugin on managed machines; found by the entry point of the group ``cairn.agents``."""

from __future__ import annotations

import time

from cairn.agents.commands import handles
from cairn.agents.config import Role
from cairn_audit.protocol import GetUptime, Uptime


class AuditArea:
    """Answers the plugin's commands."""

    @handles(GetUptime)
    async def uptime(self, command: GetUptime) -> Uptime:
        """Read the clock that began at the boot."""
        return Uptime(seconds=int(time.clock_gettime(time.CLOCK_BOOTTIME)))


def make(role: Role) -> AuditArea:
    """Every machine has an uptime, whatever its role."""
    return AuditArea()
