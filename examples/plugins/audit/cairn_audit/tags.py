"""The system tags of the audit plugin."""

from __future__ import annotations

from cairn.kernel.tag import TagDefinition


def _number(values: dict[str, str]) -> str | None:
    return None if values["number"].isdecimal() else "a number would fit"


TICKET = TagDefinition("ticket::{number}", "VmInstance", doc="the ticket that the VM was made for", check=_number)

#: protected: people set and remove it by `HoldVm` and `ReleaseVm`, not as a tag
HOLD = TagDefinition("hold::{reason}", "VmInstance", doc="why the VM must not be removed", single=True, protected=True)
