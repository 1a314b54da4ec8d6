"""Tries out whether the machine can carry a lab, by doing everything that a lab needs.

Each check tries the feature in throw-away namespaces; nothing is concluded from a version or a file's existence, and
nothing is left behind.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import msgspec

from cairn.kernel.error import CairnError, ErrorKind
from cairn.lab.machine import ENVIRONMENT, Machine

#: command -> the Debian package that has it
PROGRAMS = {
    "ip": "iproute2",
    "libvirtd": "libvirt-daemon-system",
    "mount": "mount",
    "nsenter": "util-linux",
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "setsid": "util-linux",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "unshare": "util-linux",
    "virtlogd": "libvirt-daemon",
}
_BRIDGE_AND_VETH = (
    "ip link add probe-br type bridge && ip link add probe-a type veth peer name probe-b"
    " && ip link set probe-a master probe-br"
)
_TUN = "ip tuntap add dev probe-tap mode tap"
_OVERLAY = 'cd "$0" && mkdir upper work root && mount -t overlay o -o lowerdir=/,upperdir=upper,workdir=work root'
_OVERLAY_ON_TMPFS = f'mount -t tmpfs t "$0" && {_OVERLAY}'


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a lab needs."""

    feature: str
    ok: bool
    #: what was seen when it was tried; empty if it works
    found: str = ""
    #: what would make it work
    what_to_do: str = ""


def probe(machine: Machine, folder: Path) -> list[Feature]:
    """Tries everything that a lab in ``folder`` needs, and says of each whether it works. Changes nothing.

    Args:
        machine: where the lab is to be.
        folder: where the hosts' disks are to be, or its nearest parent that exists.
    """
    root = Feature(
        feature="root",
        ok=os.geteuid() == 0,
        found="" if os.geteuid() == 0 else f"user id {os.geteuid()}",
        what_to_do="Run the command as root (sudo).",
    )
    programs = [_program(name, package) for name, package in PROGRAMS.items()]
    if not root.ok or not all(item.ok for item in programs):
        # The rest would only fail for these reasons.
        return [root, *programs]
    kernel = "Use a Linux machine whose kernel has it and lets root use it (inside a container: a privileged one)."
    return [
        root,
        *programs,
        _tried(machine, "namespaces (mount, uts, ipc, pid, net)", "--uts --ipc --pid --net", "true", kernel),
        _tried(machine, "bridge and veth links", "--net", _BRIDGE_AND_VETH, kernel),
        _tried(machine, "tap devices (/dev/net/tun)", "--net", _TUN, kernel),
        _overlay(machine, folder, kernel),
    ]


def overlay_needs_tmpfs(machine: Machine, folder: Path) -> bool:
    """Whether the hosts' disks must be in memory, because the file system of ``folder`` cannot hold overlay layers."""
    return _try_overlay(machine, folder, _OVERLAY) != ""


def require(features: list[Feature]) -> None:
    """Refuses when a feature is missing.

    Raises:
        CairnError: ``lab.impossible``, naming all that is missing, what to do, and the simulated cloud.
    """
    missing = [item for item in features if not item.ok]
    if missing:
        reasons = "; ".join(f"{item.feature} ({item.found}): {item.what_to_do}" for item in missing)
        raise CairnError(
            "lab.impossible",
            f"This machine cannot carry a lab. Missing: {reasons} "
            "A simulated cloud runs everywhere: cairn up --simulated",
            kind=ErrorKind.UNAVAILABLE,
            details={"missing": [item.feature for item in missing]},
        )


def _program(name: str, package: str) -> Feature:
    ok = shutil.which(name, path=ENVIRONMENT["PATH"]) is not None
    found = "" if ok else "no such program"
    return Feature(feature=name, ok=ok, found=found, what_to_do="" if ok else f"apt-get install {package}.")


def _tried(machine: Machine, feature: str, namespaces: str, script: str, what_to_do: str) -> Feature:
    done = machine.attempt(["unshare", "--mount", "--fork", *namespaces.split(), "sh", "-c", script])
    ok = done.returncode == 0
    said = "" if ok else done.stderr.strip() or f"exit code {done.returncode}"
    return Feature(feature=feature, ok=ok, found=said, what_to_do="" if ok else what_to_do)


def _overlay(machine: Machine, folder: Path, what_to_do: str) -> Feature:
    said = _try_overlay(machine, folder, _OVERLAY) and _try_overlay(machine, folder, _OVERLAY_ON_TMPFS)
    return Feature(feature="overlayfs over /", ok=not said, found=said, what_to_do=what_to_do if said else "")


def _try_overlay(machine: Machine, folder: Path, script: str) -> str:
    """Tries an overlay. Returns what was said; empty if it works."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    with tempfile.TemporaryDirectory(prefix=".cairn-probe-", dir=existing) as scratch:
        done = machine.attempt(["unshare", "--mount", "sh", "-c", script, scratch])
    return "" if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"
