"""Names of indexes and constraints: as records give them, and as a database takes them that allows 64 characters only."""

from __future__ import annotations

import re
import uuid

_LONGEST = 64
_LONG_NAME = re.compile(rf"\b\w{{{_LONGEST + 1},}}\b")
_DIGITS = 8


def short_name(name: str) -> str:
    """The name in 64 characters at most: one that is longer is cut, with a digest of the whole as its end."""
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - _DIGITS - 1]}_{uuid.uuid5(uuid.NAMESPACE_OID, name).hex[:_DIGITS]}"


def with_short_names(ddl: str) -> str:
    """The statement with all names cut as `short_name` does."""
    return _LONG_NAME.sub(lambda found: short_name(found[0]), ddl)
