"""``cairn up``, ``cairn down``, ``cairn status``."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import starmap
from pathlib import Path

import click
from msgspec import Struct

from cairn.cli import output
from cairn.cli.context import DEFAULT_URL, Context, common, pass_context
from cairn.cli.errors import refused
from cairn.cli.session import SessionStore, config_dir
from cairn.cli.up import cluster, record, state
from cairn.cli.up.api import ClientApi
from cairn.cli.up.daemon import GOODBYE_SECONDS, Daemon
from cairn.cli.up.fixtures import REAL, SIMULATED
from cairn.cli.up.holder import holder
from cairn.cli.up.node import Management, NodeProcess
from cairn.cli.up.real import Outcome, RealCloud
from cairn.cli.up.report import Done, Report
from cairn.cli.up.simulated import SimulatedCloud, SimulatorProcess
from cairn.kernel.error import CairnError
from cairn.kernel.membership import NODE_LOCK, FolderLock
from cairn.lab.lab import HostState, Lab
from cairn.lab.layout import DEFAULT_NAME

_data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where everything is kept; also CAIRN_DATA_DIR.",
)


class _UpResult(Struct, frozen=True, kw_only=True):
    """The result of ``cairn up`` for programs, with its steps."""

    cloud: Outcome
    steps: list[Done]


@click.command("up")
@click.option("--hosts", type=click.IntRange(1, 100_000), default=2, show_default=True, help="How many hosts.")
@click.option(
    "--nodes",
    type=click.IntRange(1, cluster.MOST_NODES),
    help="How many management nodes, on MariaDB and RabbitMQ, behind one address. By default as many as there are, or one on "
    "SQLite.",
)
@click.option("--simulated", is_flag=True, help="Simulated hosts: needs neither root nor QEMU.")
@click.option(
    "--image", type=click.Path(path_type=Path, dir_okay=False), help="A guest image (qcow2) instead of cairn's."
)
@click.option("--simulator-port", type=click.IntRange(1, 65535), default=7190, show_default=True)
@_data_dir
@common
@pass_context
def up(
    context: Context,
    hosts: int,
    nodes: int | None,
    simulated: bool,
    image: Path | None,
    simulator_port: int,
    data_dir: Path | None,
) -> None:
    """Start a cloud on this machine: a management node, or several, hosts, a network, an image, a first VM.

    Hosts are real ones, in namespaces of this machine, with QEMU; that needs root. Repeat it to mend what is broken, or to add
    hosts or nodes; nodes that are too many are taken out. cairn down takes all of it away.
    """
    folder = _folder(context, data_dir)
    report = Report(None if context.as_json else sys.stderr)
    api = ClientApi(context.client, report.watch)
    with _alone(folder):
        node = _management(context, folder, nodes)
        if simulated:
            simulator = SimulatorProcess(folder, simulator_port, context.environment)
            outcome = SimulatedCloud(simulator, node, api, report, folder).up(hosts)
        else:
            outcome = RealCloud(_lab(context, folder), node, api, report, folder).up(hosts, image)
    if context.as_json:
        output.print_json(_UpResult(cloud=outcome, steps=report.done))
    else:
        _tell(outcome)


@click.command("down")
@click.option(
    "--keep-data", is_flag=True, help="Stop everything, and keep data and the hosts' disks for the next `up`."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@_data_dir
@common
@pass_context
def down(context: Context, keep_data: bool, yes: bool, data_dir: Path | None) -> None:
    """Stop the cloud that `up` started: simulator, node, hosts with their VMs; delete its data. Safe to repeat.

    A node or simulator that was started by hand in the folder that `up` has made is stopped as well. Nothing is deleted while
    any other process works there.
    """
    folder = _folder(context, data_dir)
    made = record.read(folder)
    if made is not None and not keep_data and not yes and sys.stdin.isatty() and not context.as_json:
        click.confirm(f"Delete the cloud in {folder} with all its VMs?", default=True, abort=True, err=True)
    report = Report(None if context.as_json else sys.stderr)
    with _alone(folder):
        stopped, deleted = _take_down(context, folder, made, report, keep_data=keep_data)
    if context.as_json:
        output.print_json({"stopped": stopped, "deleted": deleted})
    elif not stopped and not deleted:
        output.say("Nothing of a cloud runs here.")


def _take_down(
    context: Context, folder: Path, made: record.Record | None, report: Report, *, keep_data: bool
) -> tuple[list[str], bool]:
    programs = _programs(folder)
    running = [program for program in programs if program.daemon(folder).running() is not None]
    for program in running:
        if program.word == "serve" and len(programs) > len(_ONE):
            program.daemon(folder).tell(signal.SIGTERM)  # all at once, so that none waits for the others
    stopped = []
    for program in programs:
        ran = program in running
        if _stop(program, folder, report, ran=ran, by_hand=made is not None):
            stopped.append(program.name)
    lab = _lab(context, folder)
    # A lab is known by its name; one of the same name in another folder is somebody else's.
    if os.geteuid() == 0 and (folder / "lab").exists() and (lab.hosts() or not keep_data):
        with report.step("switch the lab's hosts off" if keep_data else "take the lab away"):
            _end(lab, keep_data=keep_data)
        stopped.append("lab")
    deleted = False
    if made is not None and not keep_data:
        with report.step(f"delete what `up` made in {folder}"), _locked(folder):
            deleted = record.remove(folder)
        SessionStore(config_dir(context.environment) / "session.json").drop(made.url)
    return stopped, deleted


@click.command("status")
@_data_dir
@common
@pass_context
def status(context: Context, data_dir: Path | None) -> None:
    """Show what runs on this machine: the nodes and what they need, the simulator, the lab's hosts, and what is in the cloud."""
    folder = _folder(context, data_dir)
    node = NodeProcess(folder, context.client.url, context.environment)
    found = state.look(folder, context.client, _lab(context, folder), node)
    if context.as_json:
        output.print_json(found)
    elif found.is_empty:
        click.echo("Nothing runs. Start a cloud: cairn up (real hosts, as root), or cairn up --simulated")
    else:
        _show(found)


def _folder(context: Context, given: Path | None) -> Path:
    context.data_dir = (given or context.data_dir).absolute()
    return context.data_dir


def _lab(context: Context, folder: Path) -> Lab:
    return Lab(folder, context.environment.get("CAIRN_LAB_NAME") or DEFAULT_NAME)


class _Program(Struct, frozen=True, kw_only=True):
    """A program that `down` stops."""

    name: str
    title: str
    file: str  #: of its `Daemon`
    lock: str = ""  #: that it holds in the data folder; empty: none
    word: str = ""  #: how it is called
    patience_seconds: float = GOODBYE_SECONDS

    def daemon(self, folder: Path) -> Daemon:
        """The program in the background."""
        return Daemon(self.file, folder)


_ONE = (
    _Program(name="simulator", title="the simulator", file="simulator", lock=record.SIMULATOR_LOCK, word="simulator"),
    _Program(name="node", title="the node", file="node", lock=NODE_LOCK, word="serve"),
)


def _programs(folder: Path) -> list[_Program]:
    """The programs of a cloud in the order in which they are stopped."""
    several = cluster.programs(folder)
    return [_ONE[0], *starmap(_part, several.items())] if several else list(_ONE)


def _part(name: str, daemon: Daemon) -> _Program:
    """A program of a cloud of several nodes. A broker has nothing to keep, and would take its time."""
    if not name.startswith("node "):
        patience = 0 if daemon.name == "broker" else GOODBYE_SECONDS
        return _Program(name=name, title=f"the {name}", file=daemon.name, patience_seconds=patience)
    number = name.removeprefix("node ")
    lock = NODE_LOCK if number == "1" else f"{record.NODES}/{number}/{NODE_LOCK}"
    return _Program(name=name, title=name, file=daemon.name, lock=lock, word="serve")


def _management(context: Context, folder: Path, wanted: int | None) -> Management:
    """What is to answer the API: as many nodes as are wanted, or as there are."""
    plan = cluster.read(folder)
    if plan is None and wanted in (None, 1):
        return NodeProcess(folder, context.client.url, context.environment)
    made = cluster.Cluster(folder, context.client.url, context.environment, wanted or len(plan.ports if plan else ()))
    made.check()
    return made


def _stop(program: _Program, folder: Path, report: Report, *, ran: bool, by_hand: bool) -> bool:
    """Stop a program that `up` started, and `ran`; `by_hand`: and the one that somebody else has started in its place."""
    if ran:
        with report.step(f"stop {program.title}"):
            program.daemon(folder).stop(program.patience_seconds)
    else:
        program.daemon(folder).stop(program.patience_seconds)
    found = holder(folder / program.lock) if by_hand and program.lock else None
    if found is not None:
        with report.step(f"stop {program.title} that was started by hand"):
            found.stop(program.word)
    return ran or found is not None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Nothing works in the folder, and nothing can begin to (exit code 1 when something does)."""
    with ExitStack() as stack:
        for name in record.locks(folder):
            try:
                stack.callback(FolderLock(folder, name).release)
            except CairnError as error:
                raise refused(f"{error.message} Nothing was deleted.", code="up.folder-in-use") from error
        yield


def _end(lab: Lab, *, keep_data: bool) -> None:
    if not keep_data:
        lab.down()
        return
    for host in lab.hosts():
        if host.state is not HostState.KILLED:
            lab.kill(host.name)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One `up` or `down` at a time for a data folder. A name of the kernel's is the lock: it leaves no file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lock:
        try:
            lock.bind(b"\0cairn-up:" + hashlib.sha256(os.fsencode(folder)).digest())
        except OSError as error:
            raise refused(
                f"Another `cairn up` or `cairn down` works on {folder}. Wait for its end.", code="up.busy"
            ) from error
        yield


def _tell(outcome: Outcome) -> None:
    vm, naming = outcome.vm, REAL if outcome.kind == "real" else SIMULATED
    if outcome.console:
        click.echo(f"\nThe serial console of {vm['name']}:\n")
        click.echo("".join(f"    {line}\n" for line in outcome.console.splitlines()))
    click.echo(f"The VM {vm['name']} is {vm['state']} on {outcome.host}; its address is {outcome.address}.")
    where = "" if outcome.url == DEFAULT_URL else f" --url {outcome.url}"
    click.echo(
        f"\nThe API is at {outcome.url}; password of the account admin: {outcome.data_dir}/admin-password. Next steps:\n"
        f"  cairn{where} query VmInstance\n"
        f"  cairn{where} create-vm-instance name=web imageUuid={naming.image} l3NetworkUuids={naming.network} "
        "cpuNum=1 memorySize=128M\n"
        f"  cairn{where} shell\n"
        f"  cairn{where} down"
    )


def _show(found: state.State) -> None:
    rows: list[tuple[str, str]] = []
    for name, program in (("node", found.node), ("simulator", found.simulator)):
        if program.running:
            pid = f", process {program.pid}" if program.pid else ""
            pid += f", log {program.log}" if program.log else ""
            rows.append((name, f"{program.url}{pid}"))
        else:
            rows.append((name, "does not run"))
    for name, program in found.parts.items():
        rows.append(
            (name, f"{program.url}, process {program.pid}, log {program.log}" if program.running else "does not run")
        )
    rows += [(f"lab {host.name}", f"{host.address}, {host.state.value}") for host in found.lab]
    for entity, counts in found.counts.items():
        rows.append((entity, ", ".join(f"{count} {name}" for name, count in counts.items()) or "none yet"))
    output.table(("what", "how"), rows)
    _warn(found)
    if found.node.running and not found.counts.get("Host"):
        output.say("The cloud has no hosts yet. Add some: cairn up, or cairn help add-kvm-host")


def _warn(found: state.State) -> None:
    """Say what is not as it should be, and what to do about it."""
    if found.trouble:
        output.say(found.trouble)
    for loop in found.behind:
        output.say(f"Behind with its work in the background: {loop}. The node's log says why.")
    for name, reason in found.plugins.items():
        output.say(f"Plugin {name}: {reason}. The node's log has the trace.")
    if found.events_set_aside:
        output.say(
            f"{found.events_set_aside} events were set aside: a part of the cloud failed at them. See what it says: "
            "cairn query EventDelivery state=SetAside; then: cairn retry-event-delivery uuid=UUID"
        )
    for whose, number in found.certificates.items():
        output.say(
            f"{number} certificates of {whose} near their end and were not renewed: cairn get-certificates says when they "
            "end; the node's log says why."
        )
