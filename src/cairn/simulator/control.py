"""The simulator's own API, for people and tests: look, turn dials, make things happen.

=============================== ==========================================================================
``GET /inspect[?host=NAME]``    everything there is, by host
``GET /inspect/summary``        how much of each there is, all together
``GET /commands[?host=NAME]``   who commanded what, in which epoch, in this order: the last 50,000
``GET /hosts``                  name, URL, uuid of each
``GET /dials``                  the dials that are turned, with what is left of their counts
``POST /dials``                 a `Dial`, or a list: each takes the place of the one for the same host and command
``DELETE /dials``               takes all dials away
``POST /hosts/NAME/kill-vm``    ``{"vm": UUID}``: the VM's process dies by itself
``POST /hosts/NAME/restart``    the host's agent forgets its tasks
``POST /reset``                 the world as it was in the beginning, no dials
=============================== ==========================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import Struct

from cairn.simulator.agents import SimulatedAgents
from cairn.simulator.dials import Dial
from cairn.simulator.world import SimHost, World

_encoder = msgspec.json.Encoder(order="deterministic")
_dials_decoder = msgspec.json.Decoder(Dial | list[Dial])

Answer = tuple[int, bytes]


class KillVm(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a ``kill-vm`` request."""

    vm: str


_kill_decoder = msgspec.json.Decoder(KillVm)


class Control:
    """Answers everything that is not the agents' protocol.

    Args:
        agents: the simulated agents that it shows and changes.
        fresh: makes the world that ``/reset`` goes back to.
    """

    def __init__(self, agents: SimulatedAgents, fresh: Callable[[], World]) -> None:
        self._agents = agents
        self._fresh = fresh

    def handle(self, method: str, target: str, body: bytes) -> Answer:
        """Answer one request with status and body; a path that does not exist is 404."""
        url = urlsplit(target)
        try:
            match method, url.path:
                case "GET", "/inspect":
                    return self._inspect(parse_qs(url.query).get("host", []))
                case "GET", "/inspect/summary":
                    return 200, _encoder.encode(summary(self._agents.world))
                case "GET", "/commands":
                    return self._commands(parse_qs(url.query).get("host", []))
                case "GET", "/hosts":
                    return 200, _encoder.encode(_hosts(self._agents.world))
                case "GET", "/dials":
                    return self._dials()
                case "POST", "/dials":
                    return self._turn(body)
                case "DELETE", "/dials":
                    self._agents.dials.clear()
                    return self._dials()
                case "POST", "/reset":
                    self._agents.reset(self._fresh())
                    return 200, b"{}"
            return self._host(method, url.path, body)
        except msgspec.MsgspecError as error:
            return 400, _encoder.encode({"error": f"{url.path}: {error}"})

    def _inspect(self, names: list[str]) -> Answer:
        hosts = self._agents.world.hosts
        unknown = [name for name in names if name not in hosts]
        if unknown:
            return 404, _encoder.encode({"error": f"there is no host {unknown[0]}"})
        return 200, _encoder.encode({name: inspect_host(hosts[name]) for name in names or hosts})

    def _commands(self, names: list[str]) -> Answer:
        lines = [line for line in self._agents.book if not names or line.host in names]
        return 200, _encoder.encode({"commands": lines})

    def _dials(self) -> Answer:
        return 200, _encoder.encode({"dials": self._agents.dials.all()})

    def _turn(self, body: bytes) -> Answer:
        given = _dials_decoder.decode(body)
        dials = given if isinstance(given, list) else [given]
        for dial in dials:
            if dial.host is not None and dial.host not in self._agents.world.hosts:
                return 404, _encoder.encode({"error": f"there is no host {dial.host}"})
        for dial in dials:
            self._agents.dials.turn(dial)
        return self._dials()

    def _host(self, method: str, path: str, body: bytes) -> Answer:
        segments = path.split("/")
        if method == "POST" and len(segments) == 4 and segments[1] == "hosts":
            name, verb = segments[2:]
            if name not in self._agents.world.hosts:
                return 404, _encoder.encode({"error": f"there is no host {name}"})
            if verb == "kill-vm":
                vm = _kill_decoder.decode(body).vm
                if self._agents.kill_vm(name, vm):
                    return 200, b"{}"
                return 404, _encoder.encode({"error": f"the VM {vm} is not running on {name}"})
            if verb == "restart":
                self._agents.restart_agent(name)
                return 200, b"{}"
        return 404, _encoder.encode({"error": f"{method} {path} is not known here; GET /inspect, /hosts, /dials are"})


def inspect_host(host: SimHost) -> dict[str, object]:
    """Describe the content of a host, for people and tests."""
    return {
        "host": host.host,
        "vms": host.vms,
        "volumes": host.volumes,
        "images": host.images,
        "leases": [
            {"network": server.network, **msgspec.to_builtins(entry)}
            for server in host.dhcp.values()
            for entry in server.entries.values()
        ],
        "dhcp": {
            name: {"bridge": server.bridge, "dhcpIp": server.dhcp_ip, "gateway": server.gateway}
            for name, server in host.dhcp.items()
        },
        "metadata": [
            {"network": network, **msgspec.to_builtins(one)}
            for network, known in host.metadata.items()
            for one in known.values()
        ],
        "bridges": host.bridges,
        "consoles": list(host.consoles),
        "storage": host.storage,
    }


_COUNTED: Final = ("vms", "volumes", "images", "bridges", "consoles")


def summary(world: World) -> dict[str, int]:
    """Count the VMs, volumes and so on of all hosts together; the backup server's images are counted apart."""
    hosts = [host for name, host in world.hosts.items() if name != "backup"]
    counts = {what: sum(len(getattr(host, what)) for host in hosts) for what in _COUNTED}
    counts["hosts"] = len(hosts)
    counts["connected"] = sum(1 for host in hosts if host.host is not None)
    counts["leases"] = sum(len(server.entries) for host in hosts for server in host.dhcp.values())
    counts["dhcp"] = sum(len(host.dhcp) for host in hosts)
    counts["metadata"] = sum(len(known) for host in hosts for known in host.metadata.values())
    counts["backupImages"] = len(world.hosts["backup"].images)
    return counts


def _hosts(world: World) -> list[dict[str, str | None]]:
    return [
        {"name": host.name, "path": f"/hosts/{host.name}", "host": host.host, "address": host.address}
        for host in world.hosts.values()
    ]
