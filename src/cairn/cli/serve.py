"""``cairn serve``: a management node in the foreground."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from cairn.cli.context import Context, pass_context
from cairn.gateway.docs import field_docs
from cairn.kernel.settings import SECRETS, Settings, load


def _options() -> list[click.Parameter]:
    """One for each start-up setting; a secret has none, since others could read it off the list of processes."""
    docs = field_docs(Settings)
    made: list[click.Parameter] = []
    for field in msgspec.structs.fields(Settings):
        if field.name in (*SECRETS, "data_dir"):
            continue
        default = "" if field.required else field.default
        told = f"{docs[field.name]}  [CAIRN_{field.name.upper()}; default: {default if default != '' else 'empty'}]"
        kind = click.INT if field.type is int else click.STRING
        made.append(click.Option([f"--{field.name.replace('_', '-')}"], type=kind, help=told, metavar=""))
    folder = click.Path(path_type=Path, file_okay=False)
    made.insert(0, click.Option(["--data-dir"], type=folder, help=f"{docs['data_dir']}  [CAIRN_DATA_DIR]", metavar=""))
    return made


@click.command("serve", params=_options())
@pass_context
def serve(context: Context, /, **given: object) -> None:
    """Run a management node in the foreground until SIGINT or SIGTERM.

    The admin's password of the first start is CAIRN_ADMIN_PASSWORD, or one is made and written to admin-password in
    the data folder.
    """
    from cairn.bootstrap import serve as run

    given["data_dir"] = given.get("data_dir") or context.data_dir
    sys.exit(run(load(context.environment, **given)))
