"""The context of every command: the node it speaks to, where things are kept, how it prints."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import click

from cairn.cli.client import Client
from cairn.cli.http import HttpClient
from cairn.cli.names import Names
from cairn.cli.session import Credentials, SessionStore, config_dir
from cairn.kernel.settings import default_data_dir

DEFAULT_URL = "http://127.0.0.1:8080"
F = TypeVar("F", bound=Callable[..., object])


class Context:
    """Shared by the commands of one command line. `as_json` holds for errors as well."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        data_dir: Path | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.url = url
        self.data_dir = data_dir or default_data_dir(environment)
        self.environment = environment
        self.as_json = False

    @property
    def ca_file(self) -> Path | None:
        """The authority of nodes: ``CAIRN_CA_FILE``, or that of the cloud whose data folder is on this machine."""
        given = self.environment.get("CAIRN_CA_FILE")
        own = self.data_dir / "pki" / "ca.crt"
        return Path(given) if given else own if _is_readable(own) else None

    @cached_property
    def client(self) -> Client:
        """The client of the node at `url`, with this user's sessions and passwords."""
        sessions = SessionStore(config_dir(self.environment) / "session.json")
        return Client(HttpClient(self.url, self.ca_file), sessions, Credentials(self.data_dir, self.environment))

    @cached_property
    def names(self) -> Names:
        """Finds the uuids of resources that the command line gives by name."""
        return Names(self.client)


def _is_readable(path: Path) -> bool:
    try:
        return path.is_file() and os.access(path, os.R_OK)
    except OSError:
        return False


pass_context = click.make_pass_decorator(Context, ensure=True)


def _set_url(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(Context).url = value


def _set_json(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Context).as_json = True


def common(command: F) -> F:
    """Adds ``--url`` and ``--json`` to a command; both are found in its `Context`."""
    command = click.option(
        "--url", callback=_set_url, expose_value=False, is_eager=True, help="The node; also CAIRN_URL."
    )(command)
    return click.option(
        "--json", is_flag=True, callback=_set_json, expose_value=False, is_eager=True, help="Print JSON for programs."
    )(command)
