"""Settings of local storage."""

from __future__ import annotations

from cairn.kernel.config import Setting

OVER_PROVISIONING = Setting(
    "localStorage",
    "overProvisioning.ratio",
    1.0,
    minimum=1,
    maximum=1000,
    doc="bytes given to volumes per byte of disk; more than 1 counts on volumes that are never full",
)
RESERVED = Setting(
    "localStorage",
    "reserved",
    1 << 30,
    unit="bytes",
    minimum=0,
    maximum=1 << 50,
    doc="bytes of each host's disk that are kept free: no volume and no image is put where less would be left",
)
NEARLY_FULL = Setting(
    "localStorage",
    "nearlyFull.percent",
    85,
    unit="%",
    minimum=1,
    maximum=100,
    doc="share of a host's disk from which on it is NearlyFull, by all that is on it",
)
