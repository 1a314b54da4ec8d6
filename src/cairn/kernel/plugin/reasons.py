"""Reasons for which plugins are left out that others have to recognize."""

from __future__ import annotations

from typing import Final

LEFT_OUT_BY_SETTING: Final = "it is named in plugins_disabled"
