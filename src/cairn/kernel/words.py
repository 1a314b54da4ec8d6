"""Turns names of one spelling into another, and says what names and descriptions may hold."""

from __future__ import annotations

import re
from typing import Final

#: C0 and C1 controls, surrogates, the separators of lines and paragraphs, and what is no character at all: what XML,
#: terminals, logs and configuration files cannot carry.
_UNWRITABLE: Final = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
#: the end of a text, in Python and in ECMAScript: for Python `$` alone is before a line end that is the last, as well
END: Final = r"$(?!\n)"
#: a text of one line, such as every name
LINE_PATTERN: Final = rf"^[^\t\n\r{_UNWRITABLE}]*{END}"
#: an absolute path
PATH_PATTERN: Final = rf"^/[^\t\n\r{_UNWRITABLE}]*{END}"
#: a text of several lines, such as every description
PARAGRAPHS_PATTERN: Final = rf"^[^{_UNWRITABLE}]*{END}"

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

    ``vm.size-missing`` is "VM size missing", ``vm.wrong-state`` "Wrong VM state", ``host.none-fits`` "No host fits".
    """
    noun, _, rest = code.partition(".")
    what = rest.split("-")
    if what[0] in _ADJECTIVES and len(what) > 1:
        words = [what[0], *noun.split("-"), *what[1:]]
    elif what[0] in ("no", "none") and len(what) > 1:
        words = ["no", *noun.split("-"), *what[1:]]
    else:
        words = [*noun.split("-"), *what]
    title = " ".join(word.upper() if word in _ACRONYMS else word for word in words).strip()
    return title[:1].upper() + title[1:]
