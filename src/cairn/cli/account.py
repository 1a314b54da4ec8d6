"""Commands that log in and out."""

from __future__ import annotations

from pathlib import Path

import click

from cairn.cli import output
from cairn.cli.context import Context, common, pass_context
from cairn.cli.errors import usage
from cairn.cli.session import ADMIN, Credentials


@click.command("login")
@click.option("--account", default=ADMIN, show_default=True, envvar="CAIRN_ACCOUNT", show_envvar=True)
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file that holds the password; - for stdin.",
)
@common
@pass_context
def login(context: Context, account: str, password_file: Path | None) -> None:
    """Begin a session, which later commands use.

    The password comes from --password-file, CAIRN_PASSWORD, or a question. For the admin of a node on this machine it is
    read from the node's data folder, where that is allowed.
    """
    client = context.client
    session = client.log_in(account, _password(context, account, password_file))
    if context.as_json:
        output.print_json({"session": session.uuid, "account": session.account, "url": client.url})
    else:
        click.echo(f"Logged in to {client.url} as {account}.")


@click.command("logout")
@common
@pass_context
def logout(context: Context) -> None:
    """End the session and forget it. Safe to repeat."""
    ended = context.client.log_out()
    if context.as_json:
        output.print_json({"ended": ended})
    else:
        click.echo("Logged out." if ended else "There was no session.")


def _password(context: Context, account: str, file: Path | None) -> str:
    if file is not None:
        try:
            with click.open_file(str(file)) as opened:
                return str(opened.read()).strip()
        except OSError as error:
            raise usage(f"The file {file} cannot be read: {error.strerror or error}.", code="cli.no-file") from error
    known = Credentials(context.data_dir, context.environment).password(context.client.url, account)
    return known if known is not None else str(click.prompt("Password", hide_input=True, err=True))
