from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from tests.unit.cli.up.fakes import FakeCloud

from cairn.cli.client import Json
from cairn.cli.errors import CliError
from cairn.cli.up import first_vm

VM: Json = {"uuid": "v", "name": "first", "vmNics": [{"ip": "10.89.0.7"}]}


def _tries(condition: Callable[[], bool], _: float) -> bool:
    return any(condition() for _ in range(3))


def test_ping_is_sent_from_the_networks_namespace_on_the_vms_host() -> None:
    seen: list[tuple[str, Sequence[str]]] = []

    def inside(host: str, command: Sequence[str]) -> int:
        seen.append((host, command))
        return 0 if len(seen) == 2 else 1

    first_vm.ping(inside, "host1", "n" * 32, VM, _tries)
    assert seen[0] == ("host1", ["ip", "netns", "exec", f"cairn-{'n' * 32}", "ping", "-c", "1", "-W", "1", "10.89.0.7"])
    assert len(seen) == 2


def test_vm_that_does_not_answer_is_an_error_that_says_where_to_look() -> None:
    with pytest.raises(CliError, match="get-vm-console-address"):
        first_vm.ping(lambda *_: 1, "host1", "n", VM, _tries)


def test_console_is_waited_for_until_it_has_the_name() -> None:
    cloud = FakeCloud()
    text = first_vm.console(cloud, VM, _tries)
    assert "host name: first" in text
    cloud.console = "=== cairn guest ===\nhost name: (none)"
    with pytest.raises(CliError, match="does not show its name"):
        first_vm.console(cloud, VM, _tries)


def test_excerpt_is_the_beginning_and_what_the_guest_says_of_itself() -> None:
    boot = [f"[{n}] boot" for n in range(20)]
    text = "\n".join([*boot, "=== cairn guest ===", "host name: first", "cairn guest ready", "login:"])
    assert first_vm.excerpt(text).splitlines() == [
        *boot[:5],
        "…",
        "=== cairn guest ===",
        "host name: first",
        "cairn guest ready",
    ]
    assert first_vm.excerpt("\n".join(boot)).splitlines() == boot[:10]


def test_guest_cannot_drive_the_terminal() -> None:
    cloud = FakeCloud()
    cloud.console = "first \x1b]0;evil\x07"
    assert "\x1b" not in first_vm.console(cloud, VM, _tries)
