"""Logs: one line for each event, as JSON for programs or in columns for people.

Each line carries time, level, event, the logger's name, and where the work came from: the job's id and its task stack.
Values under a secret's name are never written.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
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
    """How lines look."""

    JSON = "json"
    CONSOLE = "console"


class Logger:
    """Writes events under a name, and with fields that all of them carry. A level that is off costs a comparison."""

    __slots__ = ("_fields",)

    def __init__(self, fields: dict[str, object]) -> None:
        self._fields = fields

    def bind(self, **fields: object) -> Logger:
        """A logger whose lines also carry `fields`."""
        return Logger({**self._fields, **fields})

    def debug(self, event: str, **fields: object) -> None:
        """For those who look into cairn itself."""
        if _output.level <= logging.DEBUG:
            _output.lines.debug(event, **self._fields, **fields)

    def info(self, event: str, **fields: object) -> None:
        """What an operator wants to know happened."""
        if _output.level <= logging.INFO:
            _output.lines.info(event, **self._fields, **fields)

    def warning(self, event: str, **fields: object) -> None:
        """What an operator should look at."""
        if _output.level <= logging.WARNING:
            _output.lines.warning(event, **self._fields, **fields)

    def error(self, event: str, **fields: object) -> None:
        """What went wrong. ``exc_info=error`` adds its trace."""
        if _output.level <= logging.ERROR:
            _output.lines.error(event, **self._fields, **fields)

    def exception(self, event: str, **fields: object) -> None:
        """An error with the trace of the exception that is being handled."""
        self.error(event, **{"exc_info": sys.exc_info()[1], **fields})


class _Output:
    """Where the lines of this process go."""

    def __init__(self, stream: TextIO | None, level: int, form: LogForm) -> None:
        self.level = level
        self.target: Any = _StandardError() if stream is None else structlog.PrintLogger(stream)
        self.processors = _processors(form, stream or sys.stderr)
        self.lines: Any = structlog.wrap_logger(
            self.target,
            processors=self.processors,
            wrapper_class=structlog.BoundLogger,
            cache_logger_on_first_use=True,
        )


class _StandardError:
    """Whatever standard error is when the line is written."""

    def msg(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    debug = info = warning = error = msg


def configure(stream: TextIO | None = None, level: str = "info", form: LogForm | str = LogForm.CONSOLE) -> None:
    """Write logs to `stream` (standard error if None) from `level` on. May be called again; loggers in use follow.

    What logs through structlog itself is written the same way.

    Args:
        stream: where lines go.
        level: debug, info, warning, error or critical.
        form: JSON or columns.

    Raises:
        ValueError: `level` or `form` is none of these.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"log level {level!r}: choose debug, info, warning, error or critical")
    global _output
    _output = _Output(stream, number, LogForm(form))
    structlog.configure(
        processors=_output.processors,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _output.target,
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> Logger:
    """The logger called `name`, e.g. ``"vm"``. Safe to keep: it follows later calls of `configure`."""
    return Logger({"logger": name})


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
        _add_origin,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _redact_event,
    ]
    if form is LogForm.JSON:
        return [*common, structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_dump)]
    return [*common, structlog.dev.ConsoleRenderer(colors=target.isatty())]


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


_output = _Output(None, logging.WARNING, LogForm.CONSOLE)
