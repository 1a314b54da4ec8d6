"""The first VM shows that it lives: it answers a ping, and its console has its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cairn.cli.client import Json
from cairn.cli.errors import refused
from cairn.cli.output import plain
from cairn.cli.up.api import Api, uuid_of
from cairn.cli.up.daemon import wait_until
from cairn.cli.up.fixtures import address_of

_PATIENCE_SECONDS = 90.0
_FIRST_LINES = 5
_BANNER = "=== cairn guest ==="
_READY = "cairn guest ready"

#: runs a program inside a lab host; its exit code
Inside = Callable[[str, Sequence[str]], int]
Waiting = Callable[[Callable[[], bool], float], bool]


def ping(inside: Inside, host: str, network: str, vm: Json, waiting: Waiting = wait_until) -> None:
    """Wait until the VM answers a ping from its network's namespace on its host (exit code 1 if it never does)."""
    address = address_of(vm)
    command = ["ip", "netns", "exec", f"cairn-{network}", "ping", "-c", "1", "-W", "1", address]
    if not waiting(lambda: inside(host, command) == 0, _PATIENCE_SECONDS):
        raise refused(
            f"The VM {vm['name']} at {address} does not answer a ping from {host} within {_PATIENCE_SECONDS:g} s. Look at "
            f"its console: cairn get-vm-console-address {uuid_of(vm)}",
            code="up.no-ping",
        )


def console(api: Api, vm: Json, waiting: Waiting = wait_until) -> str:
    """The text on the VM's serial console, once its name is there (exit code 1 if it never is)."""
    name, text = str(vm["name"]), ""

    def has_name() -> bool:
        nonlocal text
        answer = api.ask("GetVmConsoleAddress", {"uuid": uuid_of(vm)})
        text = plain(str(answer.get("consoleLog") or ""))
        return name in text and (_BANNER not in text or _READY in text)

    if not waiting(has_name, _PATIENCE_SECONDS):
        raise refused(
            f"The console of the VM does not show its name {name!r} within {_PATIENCE_SECONDS:g} s. It shows:\n{excerpt(text)}",
            code="up.no-console",
        )
    return text


def excerpt(text: str) -> str:
    """The first lines of a console, and what the guest says of itself."""
    lines = [line for line in text.splitlines() if line.strip()]
    at = next((number for number, line in enumerate(lines) if _BANNER in line), None)
    if at is None:
        return "\n".join(lines[: _FIRST_LINES * 2])
    end = next((number for number, line in enumerate(lines) if number > at and _READY in line), len(lines) - 1)
    first = lines[: min(_FIRST_LINES, at)]
    gap = ["…"] if at > len(first) else []
    return "\n".join([*first, *gap, *lines[at : end + 1]])
