"""One JSON object per line on standard error, with the ids of the job and task on whose behalf it was written."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType

import msgspec

_NOTHING: Mapping[str, str] = MappingProxyType({})

#: Task, job and command that the current code works for; inherited by the asyncio tasks it starts.
current: ContextVar[Mapping[str, str]] = ContextVar("cairn_agent_current", default=_NOTHING)

logger = logging.getLogger("cairn.agent")


class JsonFormatter(logging.Formatter):
    """Renders a record and the current ids as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON: time, level, event, the current ids, then the event's own fields."""
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **current.get(),
        }
        extra = getattr(record, "fields", None)
        if isinstance(extra, dict):
            fields.update(extra)
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        return msgspec.json.encode(fields, enc_hook=str).decode()


def info(event: str, **fields: object) -> None:
    """Write one line. Bodies of commands never go here: they may hold user data."""
    logger.info(event, extra={"fields": fields})


def warning(event: str, **fields: object) -> None:
    """Write one line about something an operator may have to look at."""
    logger.warning(event, extra={"fields": fields})


def exception(event: str, **fields: object) -> None:
    """Write one line with the trace of the exception being handled."""
    logger.exception(event, extra={"fields": fields})


def configure() -> None:
    """Send the agent's log, and the warnings of its libraries, to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logger.setLevel(logging.INFO)
