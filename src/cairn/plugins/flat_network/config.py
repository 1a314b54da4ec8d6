"""Settings of the flat network."""

from __future__ import annotations

from cairn.kernel.config import Setting

AUTO_ATTACH = Setting(
    "flatNetwork", "autoAttach", True, doc="whether new L3 networks are served by Flat without being asked for"
)
