"""Several management nodes behind one address: ``cairn up --nodes N``.

The first one works in the data folder itself, so that a cloud is found where it always is; each further one has a folder below
``nodes``. Database and broker are those that settings name, or are started in the data folder.

``cluster.json`` says how many there are, and on which ports; it is written before anything is started.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from cairn.cli.errors import refused
from cairn.cli.up.broker import BrokerPorts, BrokerProcess
from cairn.cli.up.daemon import GOODBYE_SECONDS, Daemon
from cairn.cli.up.database import DatabaseProcess
from cairn.cli.up.front import FrontProcess, Side
from cairn.cli.up.node import AGENT_PORT, NodeProcess
from cairn.cli.up.programs import (
    HAPROXY_PROGRAMS,
    MARIADB_PROGRAMS,
    RABBITMQ_PROGRAMS,
    free_port,
    is_free,
    require,
)
from cairn.cli.up.record import NODES
from cairn.cli.up.report import Report
from cairn.kernel.settings import Settings, load

MOST_NODES = 16
_NAME = "cluster.json"
_READY_SECONDS = 60.0
#: settings of a single node that several on one machine cannot share
_OWN = ("CAIRN_NODE", "CAIRN_ADVERTISE", "CAIRN_METRICS_LISTEN", "CAIRN_AGENT_URL")


class Plan(Struct, frozen=True, kw_only=True):
    """What a cloud of several nodes consists of."""

    ports: dict[int, int]  #: the number of each node, and where it listens
    broker: BrokerPorts
    own_database: bool  #: it is started here, and not named by a setting
    own_broker: bool


def read(data_dir: Path) -> Plan | None:
    """The plan of the cloud in a folder; None: it has one node, or there is none."""
    try:
        return msgspec.json.decode((data_dir / _NAME).read_bytes(), type=Plan)
    except (OSError, msgspec.MsgspecError):
        return None


def folder_of(data_dir: Path, number: int) -> Path:
    """The data folder of a node."""
    return data_dir if number == 1 else data_dir / NODES / str(number)


def daemon_of(data_dir: Path, number: int) -> Daemon:
    """The program of a node."""
    return Daemon("node" if number == 1 else f"node-{number}", data_dir)


class Cluster:
    """The nodes of a cloud, with all that they need.

    Args:
        data_dir: of the cloud.
        url: where clients come.
        environment: everything runs with this; settings in it hold for all nodes.
        wanted: how many nodes there are to be.
    """

    def __init__(self, data_dir: Path, url: str, environment: Mapping[str, str], wanted: int) -> None:
        self.url = url
        self._data_dir = data_dir
        self._environment = environment
        self._wanted = wanted
        self._settings = load(environment, data_dir=data_dir)
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80

    def check(self) -> None:
        """Refuse what cannot work, before anything is changed (exit code 1)."""
        database, broker = self._settings.database, self._settings.broker
        if database and "://" not in database:
            raise refused(
                f"CAIRN_DATABASE is {database}: a file is for one node. Name a MariaDB server, or leave it away: then one is "
                "started.",
                code="up.one-node-database",
            )
        plan = read(self._data_dir)
        if plan is None and (self._data_dir / "cairn.db").exists():
            raise refused(
                f"The cloud in {self._data_dir} has one node, and its database is SQLite, which is for one. Begin again: cairn "
                f"down, then cairn up --nodes {self._wanted}. To take along what it knows: cairn db dump before, cairn db "
                "restore with the new database after (docs/production.md).",
                code="up.one-node-database",
            )
        if plan is not None and (plan.own_database, plan.own_broker) != (not database, not broker):
            raise refused(
                f"The cloud in {self._data_dir} was begun with {_told(plan.own_database, plan.own_broker)}, and now "
                f"CAIRN_DATABASE and CAIRN_BROKER ask for {_told(not database, not broker)}. Set them as they were.",
                code="up.other-database",
            )
        own = {} if database else MARIADB_PROGRAMS
        require({**own, **({} if broker else RABBITMQ_PROGRAMS), **HAPROXY_PROGRAMS}, self._environment)
        if self._front.daemon.running() is None and not is_free(self._host, self._port):
            raise refused(
                f"Another program listens at {self._host}:{self._port}, where clients are to come. Stop it, or choose another "
                "address: --url http://127.0.0.1:PORT.",
                code="up.address-taken",
            )

    def up(self, report: Report, inside: str = "") -> None:
        """Start what does not run, and make the nodes as many as are wanted.

        Args:
            report: is told of each step.
            inside: an address of this machine that hosts reach: agents report there, and clients may come there, too.

        Raises:
            CliError: exit code 1 with what failed.
        """
        plan = self._planned(inside)
        self._start_servers(plan, report)
        nodes = {number: self._node(plan, number) for number in plan.ports}
        with report.step(f"start {len(nodes)} management nodes"):
            begun = self._start_nodes(nodes, inside)
            report.note(", ".join(f"{node.url} ({_how(number in begun)})" for number, node in nodes.items()))
        with report.step("start the proxy before them"):
            started = self._front.ensure(self._sides(plan, inside), self.url)
            self._front.daemon.await_ready(NodeProcess(self._data_dir, self.url, {}).is_ready, _READY_SECONDS)
            report.note(f"{self.url} ({_how(started)})")
        self._take_out(plan, report, inside)

    @property
    def _front(self) -> FrontProcess:
        return FrontProcess(self._data_dir, self._environment)

    def _planned(self, inside: str) -> Plan:
        """The plan, with nodes added; those that are too many are still in it."""
        plan = read(self._data_dir)
        addresses = {self._host, "127.0.0.1", *([inside] if inside else [])}
        taken: set[int] = set(() if plan is None else plan.ports.values())

        def port() -> int:
            found = free_port(taken, addresses)
            taken.add(found)
            return found

        if plan is None:
            plan = Plan(
                ports={},
                broker=BrokerPorts(broker=port(), names=port(), distribution=port()),
                own_database=not self._settings.database,
                own_broker=not self._settings.broker,
            )
        more = [number for number in range(1, self._wanted + 1) if number not in plan.ports]
        plan = msgspec.structs.replace(plan, ports={**plan.ports, **{number: port() for number in more}})
        self._write(plan)
        return plan

    def _write(self, plan: Plan) -> None:
        file = self._data_dir / _NAME
        new = file.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(plan))
        new.replace(file)

    def _start_servers(self, plan: Plan, report: Report) -> None:
        """Database and broker, at the same time; the broker takes longer."""
        database = DatabaseProcess(self._data_dir, self._environment) if plan.own_database else None
        broker = BrokerProcess(self._data_dir, plan.broker, self._environment) if plan.own_broker else None
        begun = broker is not None and broker.begin()
        if database is not None:
            with report.step("start the database"):
                started = database.begin()
                database.finish()
                report.note(f"MariaDB in {database.folder} ({_how(started)})")
        if broker is not None:
            with report.step("start the broker"):
                broker.finish()
                report.note(f"RabbitMQ at {broker.url} ({_how(begun)})")

    def _start_nodes(self, nodes: Mapping[int, NodeProcess], inside: str) -> set[int]:
        """Start those that do not run: the first one makes the database, so the others wait for it. Returns which."""
        first, *others = sorted(nodes)
        begun = {first} if nodes[first].ensure(inside) else set()
        begun |= {number for number in others if nodes[number].begin(inside)}
        for number in others:
            nodes[number].finish()
        return begun

    def _node(self, plan: Plan, number: int) -> NodeProcess:
        shared = variables(self._data_dir, plan, self._environment)
        return NodeProcess(
            folder_of(self._data_dir, number),
            f"http://{f'[{self._host}]' if ':' in self._host else self._host}:{plan.ports[number]}",
            {**self._environment_of(number), **shared},
            daemon=daemon_of(self._data_dir, number),
            agent_port=AGENT_PORT + number - 1,
        )

    def _environment_of(self, number: int) -> dict[str, str]:
        if number == 1:
            return dict(self._environment)
        return {name: value for name, value in self._environment.items() if name not in _OWN}

    def _sides(self, plan: Plan, inside: str) -> list[Side]:
        return [
            Side(
                address=(host, self._port),
                tls=_is_tls(self._settings, host),
                nodes={number: (host, port) for number, port in plan.ports.items()},
            )
            for host in (self._host, *([inside] if inside else []))
        ]

    def _take_out(self, plan: Plan, report: Report, inside: str) -> None:
        """Stop the nodes that are too many: each hands on what it has, so no call fails."""
        for number in sorted((number for number in plan.ports if number > self._wanted), reverse=True):
            with report.step(f"take node {number} out"):
                daemon_of(self._data_dir, number).stop(self._settings.drain_seconds + GOODBYE_SECONDS)
                ports = {one: port for one, port in plan.ports.items() if one != number}
                plan = msgspec.structs.replace(plan, ports=ports)
                self._front.ensure(self._sides(plan, inside), self.url)
                shutil.rmtree(folder_of(self._data_dir, number), ignore_errors=True)
                self._write(plan)


def variables(data_dir: Path, plan: Plan, environment: Mapping[str, str]) -> dict[str, str]:
    """The settings that all nodes of a cloud share, as variables of the environment; also for ``cairn db``."""
    found = {"CAIRN_SECRET_KEY_FILE": str(data_dir / "secret.key"), "CAIRN_TRUSTED_PROXIES": "127.0.0.1"}
    found = {name: environment.get(name) or value for name, value in found.items()}
    if plan.own_database:
        found["CAIRN_DATABASE"] = DatabaseProcess(data_dir, environment).url
    if plan.own_broker:
        broker = BrokerProcess(data_dir, plan.broker, environment)
        found.update(CAIRN_BROKER=broker.url, CAIRN_BROKER_PASSWORD_FILE=str(broker.password_file))
    return found


def programs(data_dir: Path) -> dict[str, Daemon]:
    """All programs of a cloud of several nodes, by what they are called, in the order in which they are stopped; none
    for a cloud of one node."""
    plan = read(data_dir)
    if plan is None:
        return {}
    nodes = {f"node {number}": daemon_of(data_dir, number) for number in sorted(plan.ports, reverse=True)}
    return {
        "proxy": Daemon("front", data_dir),
        **nodes,
        "broker": Daemon("broker", data_dir),
        "database": Daemon("database", data_dir),
    }


def _is_tls(settings: Settings, host: str) -> bool:
    from cairn.gateway.tls import is_loopback  # what it needs takes long to load

    return settings.tls == "always" or (settings.tls == "auto" and not is_loopback(host))


def _how(started: bool) -> str:
    return "started" if started else "runs already"


def _told(own_database: bool, own_broker: bool) -> str:
    database = "a database of its own" if own_database else "a database that a setting names"
    return f"{database} and {'a broker of its own' if own_broker else 'a broker that a setting names'}"
