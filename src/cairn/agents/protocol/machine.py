"""What a machine is, however its address is written: its machine id and its hardware's uuid.

Both are taken, since each alone repeats: copies of one disk have one machine id, and containers on one machine, or mainboards
of a careless maker, have one hardware uuid. They are told as hashes: a machine id is not to be shown in a network
(machine-id(5)), and a hash does as well for comparing.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

MACHINE_ID: Final = "/etc/machine-id"
PRODUCT_UUID: Final = "/sys/class/dmi/id/product_uuid"

_DIGITS: Final = 32
_NONE: Final = "-"


def machine_identity(machine_id: str, product_uuid: str) -> str | None:
    """The identity made of the contents of `MACHINE_ID` and `PRODUCT_UUID`; None if both are empty."""
    parts = [_hashed("system", machine_id), _hashed("hardware", product_uuid)]
    return None if parts == [_NONE, _NONE] else ".".join(parts)


def identity_here(root: Path = Path("/")) -> str | None:
    """The identity of this machine. The hardware's uuid can be read by root only; without it the machine id has to do."""
    return machine_identity(_read(root / MACHINE_ID[1:]), _read(root / PRODUCT_UUID[1:]))


def difference(known: str, found: str) -> str:
    """What became of a machine whose identity was `known` and now is `found`, as the end of "the machine there ..."."""
    system, _, hardware = known.partition(".")
    if system == found.partition(".")[0]:
        return "has the same system on other hardware: a new mainboard, a moved disk, or a copy of it"
    if hardware != _NONE and hardware == found.partition(".")[2]:
        return "has the same hardware and another system: it was installed again"
    return "is another one"


def _hashed(kind: str, text: str) -> str:
    text = text.strip().lower()
    return hashlib.sha256(f"cairn {kind} {text}".encode()).hexdigest()[:_DIGITS] if text else _NONE


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
