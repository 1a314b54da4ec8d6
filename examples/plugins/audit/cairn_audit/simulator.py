"""The audit plugin on simulated hosts."""

from __future__ import annotations

from cairn.simulator.plugins import simulates
from cairn.simulator.world import SimHost, World
from cairn_audit.protocol import GetUptime, Uptime


@simulates(GetUptime)
def uptime(world: World, host: SimHost, command: GetUptime) -> Uptime:
    """A simulated host has been up for an hour."""
    return Uptime(seconds=3600)
