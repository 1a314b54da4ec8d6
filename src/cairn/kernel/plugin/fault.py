"""Plugins that cannot be part of a node: which one it is, and how the node goes on without it.

Whatever a plugin does wrong, in a declaration, in `build`, in a workflow file or in a migration, costs the cloud that plugin and
those that require it, and nothing else. What goes wrong in the core is the node's own fault, and stops it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from cairn.kernel.error import CairnError, ErrorKind

if TYPE_CHECKING:
    from cairn.kernel.plugin.manifest import Loaded

_log = structlog.get_logger("cairn.plugin")


class PluginFault(CairnError):
    """A plugin cannot be part of the node (``plugin.broken``).

    Args:
        plugin: its name.
        reason: why it has to be left out, as the end of "it is left out: …".
    """

    def __init__(self, plugin: str, reason: str) -> None:
        super().__init__(
            "plugin.broken",
            f"The plugin {plugin} cannot be part of this node: {reason}",
            kind=ErrorKind.INTERNAL,
        )
        self.plugin = plugin
        self.reason = reason


def reason_of(error: BaseException) -> str:
    """What an exception says, for people who have to find the mistake."""
    return str(error) if isinstance(error, CairnError) else f"{type(error).__name__}: {error}"


def blame(loaded: Loaded, attempt: Callable[[Loaded], object], error: Exception) -> PluginFault:
    """The fault of the plugin with which `attempt` begins to fail, tried with one plugin more each time.

    Raises:
        Exception: `error`, if it fails with the core alone, or if no plugin can be found.
    """
    try:
        attempt(loaded.core)
    except Exception as own:
        raise own from error
    for manifest in loaded.manifests:
        if manifest.name in loaded.plugins:
            try:
                attempt(loaded.until(manifest.name))
            except Exception as found:  # noqa: BLE001 (whatever it is, it is this plugin's)
                return PluginFault(manifest.name, reason_of(found))
    raise error


def leave_out(loaded: Loaded, fault: PluginFault) -> Loaded:
    """`loaded` without the plugin that is at fault, which is logged."""
    _log.error("plugin.left-out", plugin=fault.plugin, reason=fault.reason, exc_info=fault.__cause__)
    return loaded.without(fault.plugin, fault.reason)


def sound(loaded: Loaded, attempt: Callable[[Loaded], object]) -> Loaded:
    """`loaded` without the plugins with which `attempt` fails. Raises what it raises with the core alone."""
    while True:
        try:
            attempt(loaded)
        except Exception as error:  # noqa: BLE001 (whatever a plugin does wrong)
            loaded = leave_out(loaded, blame(loaded, attempt, error))
        else:
            return loaded
