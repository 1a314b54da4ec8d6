"""A machine that only exists in memory: enough of `ip`, namespaces and processes for the lab's decisions."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from cairn.lab.layout import LabLayout
from cairn.lab.machine import Link, Machine, Process


class FakeMachine(Machine):
    """Keeps namespaces and links; every command that was run is in ``commands``."""

    def __init__(self) -> None:
        super().__init__()
        self.commands: list[list[str]] = []
        self.by_namespace: dict[str, dict[str, Link]] = {}
        self.own_links: dict[str, Link] = {"eth0": Link(ifname="eth0", flags=["UP"])}
        self.running: list[Process] = []
        self.killed: list[int] = []
        self.points: list[Path] = [Path("/")]
        self.started: list[list[str]] = []
        #: what the next attempts answer, by a word of the command
        self.refused: dict[str, str] = {}

    def run(self, *command: str | Path, input_text: str | None = None, timeout_seconds: float = 60) -> str:
        words = [str(word) for word in command]
        self.commands.append(words)
        if words[0] == "ip":
            self._ip(words[1:])
        elif words[0] == "ssh-keygen":
            key = Path(words[words.index("-f") + 1])
            key.write_text("private")
            key.with_suffix(".pub").write_text("public")
        elif words[0] == "mount":
            self.points.append(Path(words[-1]))
        elif words[0] == "umount":
            self.points.remove(Path(words[-1]))
        return ""

    def attempt(
        self, command: Sequence[str], *, input_text: str | None = None, timeout_seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        self.commands.append(list(command))
        said = next((text for word, text in self.refused.items() if any(word in part for part in command)), "")
        return subprocess.CompletedProcess(list(command), 1 if said else 0, stdout="", stderr=said)

    def detach(self, command: Sequence[str | Path], log: Path) -> None:
        words = [str(word) for word in command]
        self.started.append(words)
        mark = next(word for word in words if word.startswith("cairn-lab:"))
        number = 1000 + 2 * len(self.started)
        self.running.append(Process(number, ("unshare", mark), (number,), "pid:[1]", "net:[lab]"))
        self.running.append(
            Process(number + 1, ("/bin/sh", "init", mark), (number + 1, 1), f"pid:[{number}]", "net:[lab]")
        )

    def links(self, namespace: str | None = None) -> list[Link]:
        return list((self.own_links if namespace is None else self.by_namespace.get(namespace, {})).values())

    def networks(self, *, without_link: str) -> list[IPv4Network]:
        return []

    def namespaces(self) -> list[str]:
        return sorted(self.by_namespace)

    def namespace_identity(self, name: str) -> str | None:
        return f"net:[{name}]" if name in self.by_namespace else None

    def own_net_namespace(self) -> str:
        return "net:[machine]"

    def mount_points(self) -> list[Path]:
        return list(self.points)

    def processes(self) -> list[Process]:
        return list(self.running)

    def kill(self, processes: Sequence[Process], *, timeout_seconds: float = 10) -> None:
        self.killed += [process.pid for process in processes]
        self.running = [process for process in self.running if process not in processes]

    def _ip(self, words: list[str]) -> None:
        place = self.own_links
        if words[0] == "-n":
            place = self.by_namespace[words[1]]
            words = words[2:]
        match words:
            case ["netns", "add", name]:
                assert name not in self.by_namespace
                self.by_namespace[name] = {"lo": Link(ifname="lo")}
            case ["netns", "delete", name]:
                for link in self.by_namespace.pop(name):
                    self._unplug(name, link)
            case ["link", "add", name, *rest]:
                assert name not in place
                place[name] = Link(ifname=name)
                if "peer" in rest:
                    other = rest[rest.index("peer") + 2]
                    self.by_namespace[rest[rest.index("netns") + 1]][other] = Link(ifname=other)
            case ["link", "set", name, *rest]:
                if rest[-1] in ("up", "down"):
                    place[name].flags = ["UP"] if rest[-1] == "up" else []
            case ["link", "delete", name]:
                del place[name]
                if name.endswith("-lab0"):
                    self.by_namespace.get(name.replace("-lab0", "-switch"), {}).pop("machine", None)
            case ["address", "add" | "replace", *_]:
                pass
            case _:
                raise AssertionError(words)

    def _unplug(self, namespace: str, link: str) -> None:
        """The other end of a cable goes with the one that is taken away."""
        lab, _, owner = namespace.partition("-")
        if owner == "switch":
            self.own_links.pop(f"{lab}-lab0", None)
        elif link == "eth0":
            self.by_namespace.get(f"{lab}-switch", {}).pop(owner.replace("host", "port"), None)


@pytest.fixture
def machine() -> FakeMachine:
    return FakeMachine()


@pytest.fixture
def layout(tmp_path: Path) -> LabLayout:
    return LabLayout("test", tmp_path / "lab", IPv4Network("198.19.3.0/24"))
