"""The command ``cairn lab``."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

import click
import msgspec
from rich.console import Console
from rich.table import Table

from cairn.kernel.error import CairnError
from cairn.lab.lab import DEFAULT_DATA_FOLDER, Lab, LabStatus
from cairn.lab.layout import DEFAULT_NAME

P = ParamSpec("P")

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


@click.group("lab")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_DATA_FOLDER,
    envvar="CAIRN_DATA_DIR",
    show_default=True,
    show_envvar=True,
    help="The lab lives in its folder lab.",
)
@click.option(
    "--name",
    default=DEFAULT_NAME,
    envvar="CAIRN_LAB_NAME",
    show_default=True,
    show_envvar=True,
    help="Distinguishes labs on one machine; 1 to 10 letters and digits.",
)
@click.pass_context
def lab(context: click.Context, data_dir: Path, name: str) -> None:
    """A data center of real hosts on this machine, to try cairn on. Needs root."""
    context.obj = _lab(data_dir, name)


def _telling(command: Callable[P, None]) -> Callable[P, None]:
    """Shows an error as its sentence, and exits with 1."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except CairnError as error:
            raise click.ClickException(str(error)) from error

    return run


def _lab(data_dir: Path, name: str) -> Lab:
    try:
        return Lab(data_dir, name)
    except CairnError as error:
        raise click.UsageError(str(error)) from error


@lab.command()
@click.option("--hosts", type=click.IntRange(min=1), default=2, show_default=True, help="How many there are to be.")
@_as_json
@click.pass_obj
@_telling
def up(target: Lab, hosts: int, as_json: bool) -> None:
    """Make sure that the lab exists and its hosts run. Repeat it to add hosts or mend what is broken."""
    _show(target.up(hosts), as_json=as_json)


@lab.command()
@click.pass_obj
@_telling
def down(target: Lab) -> None:
    """Take away all of the lab, its hosts' disks too. Safe to repeat, even after a crash."""
    target.down()


@lab.command()
@click.argument("host")
@click.pass_obj
@_telling
def kill(target: Lab, host: str) -> None:
    """Cut the power of HOST (host1, host2, …): all its processes end at once, its disk stays."""
    target.kill(host)


@lab.command()
@click.argument("host")
@click.pass_obj
@_telling
def cut(target: Lab, host: str) -> None:
    """Pull the network cable of HOST. It runs on."""
    target.cut(host)


@lab.command()
@click.argument("host")
@click.pass_obj
@_telling
def mend(target: Lab, host: str) -> None:
    """Plug the cable of HOST in again, and boot it from its disk if it was killed."""
    target.mend(host)


@lab.command()
@_as_json
@click.pass_obj
@_telling
def status(target: Lab, as_json: bool) -> None:
    """Show the hosts, how to reach them, and whether they run."""
    _show(target.status(), as_json=as_json)


@lab.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("host")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
@_telling
def exec_(target: Lab, host: str, command: tuple[str, ...]) -> None:
    """Run COMMAND inside HOST, past its network, and exit with its code."""
    done = target.exec(host, command)
    click.echo(done.stdout, nl=False)
    click.echo(done.stderr, nl=False, err=True)
    sys.exit(done.returncode)


@lab.command()
@_as_json
@click.pass_obj
@_telling
def probe(target: Lab, as_json: bool) -> None:
    """Try everything that a lab needs on this machine, and say what is missing."""
    features = target.probe()
    if as_json:
        click.echo(msgspec.json.encode(features))
    else:
        table = Table("needed", "works", "what to do")
        for item in features:
            table.add_row(
                item.feature, "yes" if item.ok else f"no: {item.found}", item.what_to_do if not item.ok else ""
            )
        Console().print(table)
    if not all(item.ok for item in features):
        sys.exit(1)


def _show(status: LabStatus, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(status))
        return
    table = Table("host", "address", "state")
    for each in status.hosts:
        table.add_row(each.name, each.address, each.state.value)
    console = Console(soft_wrap=True)
    console.print(table)
    console.print(f"This machine is {status.machine_address} to the hosts ({status.subnet}).", highlight=False)
    if status.hosts:
        console.print(f"Log in: ssh -i {status.key_file} root@{status.hosts[0].address}", highlight=False)
        console.print(f"Password of root on every host: in {status.password_file}", highlight=False)
