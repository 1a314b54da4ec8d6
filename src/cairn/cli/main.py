"""The command ``cairn``: finds the subcommand, runs it, and tells its errors.

Commands are imported when they are used: ``cairn --help`` and completion have to be there at once. A name with a dash
that is not a command is an API of the node.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

import click
from msgspec import MsgspecError

from cairn.cli.context import DEFAULT_URL, Context
from cairn.cli.errors import CliError, Exit, Problem
from cairn.kernel.error import CairnError, ErrorRecord

Listing = dict[str, tuple[str, str]]

#: section -> command -> (where it is, what it does)
COMMANDS: Final[dict[str, Listing]] = {
    "A cloud on this machine": {
        "up": (
            "cairn.cli.up.command:up",
            "Start a cloud on this machine: a node, real or simulated hosts, a first VM.",
        ),
        "down": ("cairn.cli.up.command:down", "Stop what `up` started, and leave nothing behind."),
        "status": ("cairn.cli.up.command:status", "Show what runs."),
        "serve": ("cairn.cli.serve:serve", "Run a management node in the foreground."),
        "lab": ("cairn.lab.cli:lab", "A data center of real hosts on this machine."),
        "simulator": ("cairn.simulator.main:simulator", "Simulate hosts over HTTP."),
    },
    "Using a cloud": {
        "query": ("cairn.cli.queries:query", "Find resources by their fields and those of anything linked to them."),
        "apis": ("cairn.cli.calls:apis", "List the node's APIs; each is a command."),
        "help": ("cairn.cli.calls:help_", "Tell what a command or an API does and takes."),
        "job": ("cairn.cli.jobs:job", "Show or follow a job."),
        "jobs": ("cairn.cli.jobs:jobs", "List jobs."),
        "cancel": ("cairn.cli.jobs:cancel", "Cancel a job."),
        "events": ("cairn.cli.jobs:events", "Show what happens."),
        "login": ("cairn.cli.account:login", "Begin a session."),
        "logout": ("cairn.cli.account:logout", "End the session."),
        "shell": ("cairn.cli.shell:shell", "An interactive shell with history and completion; also cairn alone."),
        "completion": (
            "cairn.cli.completion_scripts:completion",
            "Print the script that makes bash, zsh or fish complete.",
        ),
    },
    "Operating and building": {
        "bench": ("cairn.cli.bench.command:bench", "Measure a running cloud."),
        "node": ("cairn.cli.nodes:node", "The management nodes: list, drain, resume, remove."),
        "workflow": ("cairn.cli.developer:workflow", "Show the steps of each operation."),
        "db": ("cairn.cli.database:database", "The database: upgrade, check, dump, restore."),
        "secrets": ("cairn.cli.secrets:secrets", "The keys that secrets in the database are sealed with."),
        "wheels": ("cairn.cli.developer:wheels", "The wheels that agents are installed from."),
        "plugin": ("cairn.cli.plugins:plugin", "What plugins have left in the database."),
        "migrations": ("cairn.cli.developer:migrations", "The database's migrations (for developers)."),
    },
}
#: Commands that work, and are for programs.
HIDDEN: Final[dict[str, str]] = {"__complete": "cairn.cli.completion_scripts:complete"}

_EXAMPLES = """\
Every API of the node is a command as well; cairn apis lists them:
  cairn create-vm-instance name=web imageUuid=tiny l3NetworkUuids=flat cpuNum=1 memorySize=128M
  cairn query VmInstance vmNics.l3Network.name=flat state=Running fields=name,uuid
"""
_EXIT_CODES = """\
Exit codes:
  0    done
  1    the cloud refused or failed; the error says why
  2    the command line is wrong; nothing was sent
  3    no node answers, or nobody is logged in
  4    a job is no longer waited for; it goes on
  130  interrupted
"""


class LazyGroup(click.Group):
    """Imports a command when it is called; other names with a dash, or in the API's own spelling, are APIs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands that are listed."""
        return [name for section in COMMANDS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now."""
        place = HIDDEN.get(cmd_name)
        for section in COMMANDS.values():
            place = section[cmd_name][0] if cmd_name in section else place
        if place is None and "-" not in cmd_name and not cmd_name[:1].isupper():
            return None
        module, _, attribute = (place or "cairn.cli.calls:call").partition(":")
        found = getattr(import_module(module), attribute)
        assert isinstance(found, click.Command)
        return found

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Commands by section, examples, exit codes; nothing is imported for it."""
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        for title, section in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in section.items()])
        formatter.write(f"\n{_EXAMPLES}")
        self.format_options(ctx, formatter)
        formatter.write(f"\n{_EXIT_CODES}")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write nothing: `format_help` writes the commands."""


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--url", envvar="CAIRN_URL", default=DEFAULT_URL, show_default=True, help="The node; also CAIRN_URL.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="CAIRN_DATA_DIR",
    help="Data folder of a node on this machine; also CAIRN_DATA_DIR. Default: /var/lib/cairn for root, else the XDG "
    "data folder.",
)
@click.version_option(package_name="cairn-cloud", prog_name="cairn")
@click.pass_context
def cairn(context: click.Context, url: str, data_dir: Path | None) -> None:
    """A private cloud: its management node, its hosts, and everything that its API can do."""
    context.obj = Context(url, data_dir)
    if data_dir is not None:
        # The lab is told with an option of its own, which it also has without this command line around it.
        context.default_map = {"lab": {"data_dir": str(data_dir)}}
    if context.invoked_subcommand is None:
        if sys.stdin.isatty() and sys.stdout.isatty():
            from cairn.cli.shell import shell

            context.invoke(shell)
        else:
            click.echo(context.get_help())


def run(arguments: Sequence[str], command: Callable[..., object] = cairn.main) -> int:
    """Run one command line and return its exit code. Errors are told on stderr."""
    as_json = "--json" in arguments
    try:
        code = command(args=list(arguments), prog_name="cairn", standalone_mode=False)
        return code if isinstance(code, int) else Exit.OK
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except CliError as error:
        _tell(error.problem, as_json=as_json)
        return error.exit_code
    except CairnError as error:
        _tell(_problem(error.record()), as_json=as_json)
        return Exit.REFUSED
    except MsgspecError as error:
        detail = f"This command line does not understand the node's answer: {error}. Use a cairn of the node's version."
        _tell(Problem(title="Not understood", detail=detail, code="cli.not-understood"), as_json=as_json)
        return Exit.REFUSED
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        return Exit.INTERRUPTED


def main() -> None:
    """The entry point of the command ``cairn``."""
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output has seen enough (cairn query … | head); nothing more can be written, not even at exit.
        sys.stdout = open("/dev/null", "w")  # noqa: SIM115 - stays open until the process ends
        code = Exit.OK
    sys.exit(code)


def _tell(problem: Problem, *, as_json: bool) -> None:
    from cairn.cli.output import print_problem

    print_problem(problem, as_json=as_json)


def _problem(record: ErrorRecord) -> Problem:
    from cairn.kernel.words import titled

    return Problem(
        title=titled(record.code),
        detail=record.message,
        code=record.code,
        kind=record.kind.value,
        fields=record.fields,
        operator=record.operator,
        cause=_problem(record.cause) if record.cause is not None else None,
    )


if __name__ == "__main__":
    main()
