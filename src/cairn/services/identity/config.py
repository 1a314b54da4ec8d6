"""Settings of the identity service."""

from __future__ import annotations

from cairn.kernel.config import Setting

MAX_SESSIONS = Setting(
    "session", "maxConcurrent", 500, minimum=1, maximum=100_000, doc="sessions that an account may have at a time"
)
