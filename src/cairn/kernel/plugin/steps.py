"""Steps are made of their constructors' arguments, each looked up by its declared type.

A service's `build` does not list its steps. It returns the objects of its own that they ask for; the kernel's parts, and what
other services provide, are there for every step::

    class ClaimHost(TransactionStep[ClaimHostInput, ClaimHostOutput]):
        def __init__(self, allocator: Allocator, settings: GlobalConfig) -> None:
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping

from cairn.kernel.flow.step import AnyStep

Offered = Mapping[type, object]


def offered(things: Iterable[object]) -> dict[type, object]:
    """`things` by their classes and the classes that these extend. A class that two of them share stands for neither."""
    found: dict[type, object] = {}
    twice: set[type] = set()
    for thing in things:
        for kind in type(thing).__mro__[:-1]:
            if kind in found and found[kind] is not thing:
                twice.add(kind)
            found[kind] = thing
    return {kind: thing for kind, thing in found.items() if kind not in twice}


def make_step(kind: type[AnyStep], things: Offered) -> AnyStep:
    """The step, with each argument of its constructor taken from `things` by its type.

    Raises:
        TypeError: no thing has the type of an argument; the sentence names the step and the types that there are.
    """
    arguments: dict[str, object] = {}
    hints = typing.get_type_hints(kind.__init__) if kind.__init__ is not object.__init__ else {}
    for name, wanted in hints.items():
        if name == "return":
            continue
        if not isinstance(wanted, type) or wanted not in things:
            names = ", ".join(sorted(one.__name__ for one in things))
            raise TypeError(
                f"{kind.__module__}.{kind.__qualname__} asks for `{name}`, a {getattr(wanted, '__name__', wanted)}, which "
                f"neither the kernel, nor a service that is required, nor its own `build` gives; there are: {names}"
            )
        arguments[name] = things[wanted]
    return kind(**arguments)
