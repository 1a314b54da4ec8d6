"""Logs: one line for each event, as JSON for programs or in columns for people.

A module logs through ``structlog.get_logger("cairn.<part>")``: events are called ``<noun>.<what>``, facts are key-values.
Each line carries time, level, event, the logger's name, and where the work came from: the job's id and its task stack.
Values under a secret's name are never written.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from enum import StrEnum
from functools import lru_cache
from typing import Any, TextIO

import msgspec
import structlog

from cairn.kernel.bus.context import CONTEXT

_SECRET = ("password", "passwd", "token", "secret", "privatekey", "credential", "authorization", "cookie", "apikey")
_HIDDEN = "***"
_MAX_DEPTH = 6


class LogForm(StrEnum):
    """What a line looks like: JSON for programs, columns for people."""

    JSON = "json"
    CONSOLE = "console"


class _Target:
    """Where the lines of one logger go: `stream`, or whatever standard error is when the line is written."""

    def __init__(self, name: str, stream: TextIO | None) -> None:
        self.name = name
        self._stream = stream

    def msg(self, line: str) -> None:
        # What a line tells of has happened already: a full disk or a closed pipe must not make it an error of its own.
        with suppress(OSError, ValueError):
            print(line, file=self._stream or sys.stderr, flush=True)

    debug = info = warning = error = critical = msg


def configure(stream: TextIO | None = None, level: str = "info", form: LogForm | str = LogForm.CONSOLE) -> None:
    """Write logs to `stream` (standard error if None) from `level` on. May be called again; loggers in use follow.

    Args:
        stream: where lines go.
        level: debug, info, warning, error or critical.
        form: JSON or columns.

    Raises:
        ValueError: `level` or `form` is not one of these.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"log level {level!r}: choose debug, info, warning, error or critical")
    structlog.configure(
        processors=_processors(LogForm(form), stream or sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda name="", *_: _Target(name, stream),
        cache_logger_on_first_use=False,  # so that a logger at module level follows a later `configure`
    )


def redact(values: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """A copy of `values` without secrets, by the names of keys, to any sensible depth."""
    return {key: _HIDDEN if _is_secret(key) and value else _redacted(value, depth) for key, value in values.items()}


def _redacted(value: Any, depth: int) -> Any:
    if isinstance(value, str | int | float | None) or depth >= _MAX_DEPTH:
        return value
    if isinstance(value, Mapping):
        return redact(value, depth + 1)
    if isinstance(value, msgspec.Struct):
        return redact(msgspec.structs.asdict(value), depth + 1)
    if isinstance(value, list | tuple):
        return [_redacted(item, depth + 1) for item in value]
    return value


@lru_cache(maxsize=4096)
def _is_secret(key: object) -> bool:
    flat = str(key).lower().replace("_", "").replace("-", "")
    return any(word in flat for word in _SECRET)


def _processors(form: LogForm, target: TextIO) -> list[structlog.typing.Processor]:
    common: list[structlog.typing.Processor] = [
        _add_name,
        _add_origin,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _redact_event,
    ]
    if form is LogForm.JSON:
        return [*common, structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_dump)]
    return [*common, structlog.dev.ConsoleRenderer(colors=target.isatty())]


def _add_name(logger: Any, _: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["logger"] = logger.name
    return event


def _add_origin(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    context = CONTEXT.get()
    if context.job is not None:
        event.setdefault("job", context.job)
    if context.stack:
        event.setdefault("task", " > ".join(context.stack))
    return event


def _redact_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return redact(event)


def _dump(event: Any, **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()
