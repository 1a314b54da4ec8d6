"""The settings of a management node: each has a default, a description and an environment variable.

Unlike global configuration (`cairn.kernel.config`) these are fixed for the life of the process.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from cairn.kernel.bus.broker import parse_broker
from cairn.kernel.error import CairnError, invalid
from cairn.kernel.ids import is_uuid

_PORT = re.compile("[0-9]{1,5}")
_URL = re.compile(r"https?://[^\s/?#]+(/[^\s?#]*)?")
#: settings that take one of some words, and those that name a folder which somebody has made
_WORDS = {"log_level": ("debug", "info", "warning", "error", "critical"), "log_format": ("json", "console")}
_FOLDERS = ("workflow_dir", "ansible_dir")
#: settings that are or may hold secrets: by the environment only, since others can read what a process was started with
SECRETS = ("admin_password", "broker", "metrics_token")


def default_data_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """The default data folder: /var/lib/cairn for root, the XDG data folder for others."""
    if os.geteuid() == 0:
        return Path("/var/lib/cairn")
    base = environment.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "cairn"


class Settings(Struct, frozen=True, kw_only=True):
    """Start-up settings. Above each: what it does; its environment variable is ``CAIRN_`` and its name in capitals."""

    #: folder of the database, keys, secrets and logs
    data_dir: Path
    #: address:port pairs that the API listens on, separated by commas
    listen: str = "127.0.0.1:8080"
    #: the node's id, 32 hex digits; empty: one is made at the first start, and kept in the file ``node-id`` of the data folder
    node: str = ""
    #: address:port of the API as other nodes, and people who list nodes, reach this one; empty: the first of `listen`
    advertise: str = ""
    #: whether these speak TLS: auto (all but those that only this machine reaches), always, or never
    tls: str = "auto"
    #: file of the API's certificate, with the chain up to its authority, PEM; empty: the cloud's authority makes one
    tls_certificate: str = ""
    #: file of the key to it, PEM
    tls_key: str = ""
    #: further names and addresses that the certificate is for which the cloud's authority makes, separated by commas
    tls_names: str = ""
    #: address:port pairs where metrics are given to everybody, over plain HTTP, separated by commas; empty: nowhere
    metrics_listen: str = ""
    #: what a monitoring system gives as a bearer token to read ``/metrics`` at the API's addresses; administrators need none
    metrics_token: str = ""
    #: address:port that agents report to, over TLS; empty: agents are polled
    agent_listen: str = ""
    #: the URL under which agents reach `agent_listen`; empty: made of it
    agent_url: str = ""
    #: the database: a file, or ``mysql://user@host:port/name`` of a MariaDB or MySQL server; empty: SQLite in the data folder
    database: str = ""
    #: address of the broker between several nodes, ``amqps://user:password@host:port/vhost?cafile=FILE``; empty: one node
    broker: str = ""
    #: file of the password at the broker, in its first line; empty: it is in the address
    broker_password_file: str = ""
    #: the admin's password at the first start; empty: one is made and written to a file
    admin_password: str = ""
    #: file of the keys that secrets in the database are sealed with; empty: ``secret.key`` in the data folder
    secret_key_file: str = ""
    #: plugins left out, separated by commas
    plugins_disabled: str = ""
    #: plugins that other nodes may have or not have, separated by commas: while one is brought in or taken out node by node
    plugins_rolling: str = ""
    #: modules of further plugins (each with a MANIFEST), separated by commas
    plugins_extra: str = ""
    #: folder of the operator's workflow files (``*.toml``); empty: ``workflows.d`` in the data folder
    workflow_dir: str = ""
    #: folder of the operator's own Ansible task files, run around the deployment of agents; empty: none
    ansible_dir: str = ""
    #: folder of the wheels that agents are installed from; empty: where ``make setup`` puts them
    wheels_dir: str = ""
    #: debug, info, warning, error or critical
    log_level: str = "info"
    #: json (a line of JSON per event) or console (for people)
    log_format: str = "json"
    #: how long sessions live without renewal, in seconds
    session_seconds: Annotated[int, Meta(ge=60, le=31_536_000)] = 7200
    #: how long a node that is told to end goes on with what it has begun, while other nodes take the rest, in seconds; 0, and
    #: where there is no other node: not at all
    drain_seconds: Annotated[int, Meta(ge=0, le=3600)] = 20
    #: how long such a node takes calls after ``/readyz`` has begun to say no, so that proxies find out, in seconds
    drain_notice_seconds: Annotated[int, Meta(ge=0, le=300)] = 2
    #: addresses and networks of proxies before the API, separated by commas: what they say of their clients is believed
    trusted_proxies: str = ""
    #: most connections to the API at a time; where all are taken, an idle one makes room. Each is a file: a process that
    #: may have few takes fewer (nine tenths of ``ulimit -Hn``), and says so in its log
    max_connections: Annotated[int, Meta(ge=10, le=1_000_000)] = 40_000
    #: most of them from one address; this machine's own programs have no such limit
    max_connections_per_address: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000
    #: most bytes of a request's body
    max_body_bytes: Annotated[int, Meta(ge=1 << 10, le=1 << 30)] = 1 << 20


def load(environment: Mapping[str, str] = os.environ, **given: object) -> Settings:
    """The settings: arguments first, then the environment, then defaults.

    Raises:
        CairnError: ``settings.bad-value`` naming the environment variable.
    """
    values: dict[str, object] = {"data_dir": default_data_dir(environment)}
    for field in msgspec.structs.fields(Settings):
        variable = f"CAIRN_{field.name.upper()}"
        text = environment.get(variable)
        if text is not None:
            values[field.name] = _parse(variable, field.type, text)
    values.update({name: value for name, value in given.items() if value is not None})
    for field in msgspec.structs.fields(Settings):
        _check(f"CAIRN_{field.name.upper()}", field.type, values.get(field.name, field.default))
    settings = Settings(**values)  # type: ignore[arg-type]
    _check_texts(settings)
    return settings


def _check_texts(settings: Settings) -> None:
    """Refuse what would do nothing, or be found out late: a word that means nothing, a folder that is not there."""
    for name, words in _WORDS.items():
        found = getattr(settings, name)
        if found not in words:
            raise invalid("settings.bad-value", f"CAIRN_{name.upper()}", found, f"one of {', '.join(words)} would fit")
    for name in _FOLDERS:
        found = getattr(settings, name)
        if found and not Path(found).is_dir():
            raise invalid("settings.bad-value", f"CAIRN_{name.upper()}", found, "a folder that is there would fit")
    if settings.broker:
        parse_broker(settings.broker, settings.broker_password_file)
    if settings.agent_url and _URL.fullmatch(settings.agent_url) is None:
        fits = "https://address:port would fit, as machines reach CAIRN_AGENT_LISTEN"
        raise invalid("settings.bad-value", "CAIRN_AGENT_URL", settings.agent_url, fits)

    if settings.node and not is_uuid(settings.node):
        raise invalid(
            "settings.bad-value", "CAIRN_NODE", settings.node, "32 hex digits would fit, as in the file node-id"
        )
    if settings.advertise and len(listeners("CAIRN_ADVERTISE", settings.advertise)) != 1:
        raise invalid("settings.bad-value", "CAIRN_ADVERTISE", settings.advertise, "one address:port would fit")


def _parse(variable: str, kind: object, text: str) -> object:
    if _bounds(kind) is not None:
        try:
            return int(text)
        except ValueError:
            raise _bad(variable, kind, text) from None
    return Path(text) if kind is Path else text


def _check(variable: str, kind: object, value: object) -> None:
    """Refuse a number that is beyond its bounds."""
    try:
        msgspec.convert(value, kind if _bounds(kind) is not None else object)
    except msgspec.ValidationError:
        raise _bad(variable, kind, value) from None


def _bounds(kind: object) -> Meta | None:
    """Of a number; None: it is none."""
    return next((one for one in getattr(kind, "__metadata__", ()) if isinstance(one, Meta)), None)


def _bad(variable: str, kind: object, found: object) -> CairnError:
    bounds = _bounds(kind)
    assert bounds is not None, "only numbers can be wrong here"
    return invalid("settings.bad-value", variable, found, f"a whole number from {bounds.ge} to {bounds.le} would fit")


def secret_key_file(settings: Settings) -> Path:
    """The file of the keys that secrets are sealed with."""
    return Path(settings.secret_key_file) if settings.secret_key_file else settings.data_dir / "secret.key"


def advertised(settings: Settings) -> tuple[str, int]:
    """The address and port at which others reach the node's API (``settings.bad-value``)."""
    setting, text = ("CAIRN_ADVERTISE", settings.advertise) if settings.advertise else ("CAIRN_LISTEN", settings.listen)
    return (listeners(setting, text) or [("127.0.0.1", 0)])[0]


def listeners(setting: str, text: str) -> list[tuple[str, int]]:
    """The address and port pairs of ``127.0.0.1:8080,[::1]:8080`` (``settings.bad-value``)."""
    pairs: list[tuple[str, int]] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        host, _, port = part.rpartition(":")
        inner = host[1:-1] if host.startswith("[") and host.endswith("]") else None
        bare = inner is None and not set(host) & set("[]:")
        if not (inner or (host and bare)) or not _PORT.fullmatch(port) or int(port) > 65535:
            raise invalid(
                "settings.bad-value", setting, part, "address:port would fit, as in 127.0.0.1:8080 or [::1]:8080"
            )
        pairs.append((inner or host, int(port)))
    return pairs
