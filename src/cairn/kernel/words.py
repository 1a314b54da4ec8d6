"""How names become other names: one spelling from another."""

from __future__ import annotations

import re

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def dashed(name: str) -> str:
    """``CreateVmInstance`` -> ``create-vm-instance``."""
    return _WORD.sub("-", name).lower()
