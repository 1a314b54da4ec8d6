"""The audit plugin on simulated hosts."""

from __future__ import annotations

from cairn.agents.protocol.wire import Done
from cairn.simulator.plugins import simulates
from cairn.simulator.world import SimHost, World
from cairn_audit.protocol import GetUptime, PutSeal, TakeSeal, Uptime


@simulates(GetUptime)
def uptime(world: World, host: SimHost, command: GetUptime) -> Uptime:
    """A simulated host has been up for an hour."""
    return Uptime(seconds=3600)


@simulates(PutSeal)
def put_seal(world: World, host: SimHost, command: PutSeal) -> Done:
    """Kept with the host, so that tests see what is left there."""
    host.kept.setdefault("audit", {})[command.vm] = command.number
    return Done()


@simulates(TakeSeal)
def take_seal(world: World, host: SimHost, command: TakeSeal) -> Done:
    """Nothing there is success."""
    seals = host.kept.get("audit", {})
    seals.pop(command.vm, None)
    if not seals:
        host.kept.pop("audit", None)
    return Done()
