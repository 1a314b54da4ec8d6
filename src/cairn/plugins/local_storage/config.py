"""Settings of local storage."""

from __future__ import annotations

from cairn.kernel.config import Setting

OVER_PROVISIONING = Setting(
    "localStorage",
    "overProvisioning.ratio",
    1.0,
    minimum=1,
    maximum=1000,
    doc="bytes given to volumes per byte of disk",
)
