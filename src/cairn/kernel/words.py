"""Turns names of one spelling into another."""

from __future__ import annotations

import re
from typing import Final

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def dashed(name: str) -> str:
    """The words of a class name in lower case, with dashes: ``CreateVmInstance`` -> ``create-vm-instance``."""
    return _WORD.sub("-", name).lower()


_ACRONYMS: Final = frozenset(
    {"api", "id", "ip", "json", "kvm", "l2", "l3", "nic", "pki", "ssh", "url", "uuid", "vm", "vni"}
)
_ADJECTIVES: Final = frozenset({"another", "bad", "invalid", "malformed", "missing", "other", "unknown", "wrong"})


def titled(code: str) -> str:
    """An error's code as people read it.

    ``vm.size-missing`` is "VM size missing", ``vm.wrong-state`` "Wrong VM state", ``host.none-fits`` "Host: none fits".
    """
    noun, _, rest = code.partition(".")
    noun = " ".join(word.upper() if word in _ACRONYMS else word for word in noun.split("-"))
    first, *others = rest.split("-")
    if first in _ADJECTIVES and others:
        title = " ".join([first, noun, *others])
    elif first in ("no", "none"):
        title = " ".join([f"{noun}:", first, *others])
    else:
        title = " ".join([noun, first, *others]).strip()
    return title[:1].upper() + title[1:]
