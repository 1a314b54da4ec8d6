"""Settings of the identity service."""

from __future__ import annotations

from cairn.kernel.config import Setting

MAX_LIFETIME = Setting(
    "session",
    "maxLifetime",
    604_800,
    unit="s",
    minimum=60,
    maximum=31_536_000,
    doc="how long a session lives after its log-in, however often it is renewed",
)
MAX_SESSIONS = Setting(
    "session", "maxConcurrent", 500, minimum=1, maximum=100_000, doc="sessions that an account may have at a time"
)
