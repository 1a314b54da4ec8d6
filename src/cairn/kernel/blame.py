"""Whose code an unexpected exception came through: cairn's own, or that of a plugin.

A package with a module ``manifest`` that holds a ``MANIFEST`` is a service or a plugin. The services are cairn's; so a plugin is
told apart without any list of plugins, wherever its code is called: in a step, a handler, an extension point, a subscriber.
"""

from __future__ import annotations

import sys
import traceback

_CORE = ("cairn.kernel", "cairn.services")


def plugin_of(error: BaseException) -> str | None:
    """The name of the plugin whose code was at work when `error` was raised, the innermost one; None: none was."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    found = (plugin_of_module(str(frame.f_globals.get("__name__", ""))) for frame in reversed(frames))
    return next((name for name in found if name is not None), None)


def plugin_of_module(module: str) -> str | None:
    """The name of the plugin that a module belongs to; None: it belongs to none."""
    if f"{module}.".startswith(tuple(f"{package}." for package in _CORE)):
        return None
    while module:
        manifest = getattr(sys.modules.get(f"{module}.manifest"), "MANIFEST", None)
        name = getattr(manifest, "name", None)
        if isinstance(name, str):
            return name
        module = module.rpartition(".")[0]
    return None
