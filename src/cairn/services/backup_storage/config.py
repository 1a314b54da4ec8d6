"""Settings of backup storage."""

from __future__ import annotations

from cairn.kernel.machine.config import machine_settings

MACHINE = machine_settings("backupStorage", "backup storage", ping_parallelism=50)
