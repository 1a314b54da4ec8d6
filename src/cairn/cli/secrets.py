"""Commands for the keys that a node's secrets are sealed with. They work on its data folder, without the node."""

from __future__ import annotations

import click

from cairn.cli import output
from cairn.cli.context import Context, common, pass_context


@click.group("secrets")
def secrets() -> None:
    """The keys that secrets in the database are sealed with."""


@secrets.command("rotate")
@common
@pass_context
def rotate(context: Context) -> None:
    """Make a new key. At its next start the node seals everything with it; the former keys stay, for backups."""
    from cairn.kernel.settings import load, secret_key_file
    from cairn.kernel.store import sealing

    file = secret_key_file(load(context.environment, data_dir=context.data_dir))
    key = sealing.rotate(file)
    if context.as_json:
        output.print_json({"key": key, "file": str(file)})
    else:
        click.echo(
            f"{file} has the new key {key}. Restart the node: it seals all secrets with it. Then back the file up."
        )
