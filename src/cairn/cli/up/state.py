"""Finds out which parts of a cloud run on this machine."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from cairn.cli.client import Client, Request
from cairn.cli.errors import CliError
from cairn.cli.up import cluster
from cairn.cli.up.daemon import Daemon
from cairn.cli.up.holder import holder
from cairn.cli.up.node import NodeProcess
from cairn.kernel.error import CairnError
from cairn.kernel.membership import NODE_LOCK
from cairn.kernel.plugin.reasons import LEFT_OUT_BY_SETTING
from cairn.lab.lab import HostStatus, Lab

#: The entities that are counted, and by which field.
_COUNTED = (("Zone", "state"), ("Host", "status"), ("VmInstance", "state"))


class Program(Struct, frozen=True, kw_only=True):
    """A program that ``cairn up`` has started, and where to find it."""

    running: bool
    url: str = ""
    pid: int | None = None
    log: str = ""


class State(Struct, frozen=True, kw_only=True, rename="camel"):
    """The content of ``cairn status``: the programs, the lab and how many resources there are."""

    data_dir: str
    node: Program
    simulator: Program
    lab: list[HostStatus]
    parts: dict[str, Program] = {}  #: of a cloud of several nodes: each of these, the database, the broker, the proxy
    counts: dict[str, dict[str, int]] = {}  #: entity -> state -> how many
    trouble: str = ""  #: why nothing could be counted
    behind: list[str] = []  #: what the node should have done in the background, and has not
    plugins: dict[str, str] = {}  #: those that are left out though nobody asked for it, or run in part: the reason
    events_set_aside: int = 0  #: that a part of the cloud could not be told of; 0 also for who may not see them

    certificates: dict[str, int] = {}  #: those that should have been renewed by now, by holder

    @property
    def is_empty(self) -> bool:
        """Whether neither a node, nor a simulator, nor a lab is there, nor was meant to be."""
        return not (self.node.running or self.simulator.running or self.lab or self.parts)


def look(data_dir: Path, client: Client, lab: Lab | None, node: NodeProcess) -> State:
    """Find out what runs; nothing is changed."""
    told = node.readiness()
    ready = told is not None and told.ready
    found = node.daemon.running()
    pid = _by_hand(data_dir) if found is None else found.pid
    counts: dict[str, dict[str, int]] = {}
    trouble = ""
    if ready:
        try:
            counts = {entity: _count(client, entity, field) for entity, field in _COUNTED}
        except CliError as error:
            trouble = error.problem.detail
    elif pid is not None:
        reasons = "" if told is None else f" It says: {'; '.join(told.reasons)}."
        trouble = f"The node's process is there, and it does not take calls (yet).{reasons}"
    parts = {name: _program(daemon) for name, daemon in cluster.programs(data_dir).items()}
    dead = [name for name, part in parts.items() if not part.running]
    if dead:
        trouble = f"{trouble} {', '.join(dead)}: does not run. cairn up starts it again.".strip()
    simulator = Daemon("simulator", data_dir)
    return State(
        data_dir=str(data_dir),
        node=Program(
            running=ready or pid is not None,
            url=node.url,
            pid=pid,
            log=str(node.daemon.log) if found else "",
        ),
        simulator=_program(simulator),
        lab=_lab_hosts(lab),
        parts=parts,
        counts=counts,
        trouble=trouble,
        behind=told.behind if told is not None else [],
        plugins=_broken_plugins(client) if counts else {},
        events_set_aside=_set_aside(client) if counts else 0,
        certificates=_ending_certificates(client) if counts else {},
    )


class _Certificate(Struct, frozen=True):
    holder: str
    ending: int


class _Certificates(Struct, frozen=True):
    inventories: list[_Certificate]


def _ending_certificates(client: Client) -> dict[str, int]:
    """The certificates that should have been renewed by now; none for who may not see them."""
    try:
        body = client.call(Request(verb="GET", path="/v1/certificates")).body
    except CliError:
        return {}
    found = msgspec.json.decode(body, type=_Certificates).inventories
    return {one.holder: one.ending for one in found if one.ending}


class _Plugin(Struct, frozen=True):
    name: str
    reason: str = ""


class _Plugins(Struct, frozen=True):
    inventories: list[_Plugin]


def _broken_plugins(client: Client) -> dict[str, str]:
    """The plugins with something wrong; none for who may not see them."""
    try:
        body = client.call(Request(verb="GET", path="/v1/plugins")).body
    except CliError:
        return {}
    found = msgspec.json.decode(body, type=_Plugins).inventories
    return {one.name: one.reason for one in found if one.reason and one.reason != LEFT_OUT_BY_SETTING}


def _by_hand(data_dir: Path) -> int | None:
    """The process of a node that works in the folder, and that `up` has not started."""
    with suppress(CliError):
        found = holder(data_dir / NODE_LOCK)
        return found.pid if found is not None else None
    return None


def _program(daemon: Daemon) -> Program:
    found = daemon.running()
    if found is None:
        return Program(running=False)
    return Program(running=True, url=found.url, pid=found.pid, log=str(daemon.log))


def _count(client: Client, entity: str, field: str) -> dict[str, int]:
    """How many there are in each state; a state's name comes from the schema, so that large clouds are only counted."""
    described = client.schema.by_entity.get(entity)
    choices = described.by_field[field].choices if described and field in described.by_field else ()
    options = [("count", "true")]
    found = {choice: client.query(entity, [f"{field}={choice}"], options=options).total or 0 for choice in choices}
    return {choice: count for choice, count in found.items() if count}


def _set_aside(client: Client) -> int:
    """How many events wait for somebody; they are for administrators, so nobody else is told of any."""
    try:
        return client.query("EventDelivery", ["state=SetAside"], options=[("count", "true")]).total or 0
    except CliError:
        return 0


def _lab_hosts(lab: Lab | None) -> list[HostStatus]:
    if lab is None or os.geteuid() != 0:
        return []
    try:
        return lab.hosts()
    except CairnError:
        return []
