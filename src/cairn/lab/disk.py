"""The disk of a lab host: the upper layers of its overlays over the machine's file system.

A host sees the programs that are installed on the machine, but not the machine's own state: its keys, users' folders,
logs, virtual machines and cloud. Such folders are hidden by an empty ("opaque") folder in the upper layer before the
host first boots. The files that a host writes stay in its upper layer, through every kill and boot, until the lab goes down.
"""

from __future__ import annotations

import os
import secrets
import shutil
from importlib import resources
from pathlib import Path

from cairn.lab.layout import MAX_HOSTS, SSH_PORT, HostLayout
from cairn.lab.machine import Machine

#: Folders of the machine whose content no host sees.
HIDDEN = (
    "/etc/cairn",
    "/etc/cairn-lab",
    "/etc/libvirt/qemu",
    "/etc/libvirt/secrets",
    "/etc/libvirt/storage",
    "/etc/ssh",
    "/home",
    "/root",
    "/var/cache/libvirt",
    "/var/lib/cairn",
    "/var/lib/libvirt",
    "/var/log",
)
#: Empty folders that packages made in hidden ones, with the owners that their programs expect.
KEPT_FOLDERS = ("/var/lib/libvirt", "/var/cache/libvirt", "/var/log", "/var/log/libvirt")
#: Mount points below / that a machine may keep on file systems of their own; an overlay does not reach into them.
OTHER_TREES = ("/etc", "/home", "/opt", "/srv", "/usr", "/usr/local", "/var", "/var/lib", "/var/log")
#: Executable files in this folder of a host are run after each of its boots.
BOOT_FOLDER = "/etc/cairn-lab/boot.d"

_SSHD_CONFIG = f"""\
# Written by cairn lab.
Port {SSH_PORT}
HostKey /etc/ssh/ssh_host_ed25519_key
AllowUsers root
PermitRootLogin yes
PasswordAuthentication yes
KbdInteractiveAuthentication no
UsePAM yes
UseDNS no
PrintMotd no
MaxStartups 100
MaxSessions 100
AcceptEnv LANG LC_*
Subsystem sftp /usr/lib/openssh/sftp-server
"""
_OPAQUE = "trusted.overlay.opaque"


def trees(machine: Machine) -> list[str]:
    """The file systems of the machine that a host sees, / first and outer before inner."""
    mounted = {str(point) for point in machine.mount_points()}
    return ["/", *[tree for tree in OTHER_TREES if tree in mounted]]


def prepare(machine: Machine, host: HostLayout, data_folder: Path) -> None:
    """Makes the host's disk, unless it is there. One whose making was broken off is made again.

    Args:
        machine: where the host is to run.
        host: whose disk it is; password and key pair of its lab are there already.
        data_folder: hidden from the host: the machine's cloud is not the host's.

    Raises:
        CairnError: ``lab.command-failed`` when the host's SSH key cannot be made.
    """
    complete = host.folder / "complete"
    if complete.exists():
        return
    shutil.rmtree(host.folder, ignore_errors=True)
    (host.folder / "root").mkdir(parents=True)
    # Users other than root must not walk in and find set-uid programs that a host has written.
    host.lab.disks.chmod(0o700)
    layers = Layers(host.folder / "disk", trees(machine))
    for folder in (*HIDDEN, str(data_folder)):
        # If a part of the path is a symbolic link, the folder behind it must not be seen.
        layers.hide(str(Path(folder).resolve()))
    for folder in KEPT_FOLDERS:
        layers.copy_folders(folder)
    _write_identity(layers, host)
    _write_ssh(machine, layers, host)
    layers.write("/etc/cairn-lab/init", _script("init.sh"), mode=0o755)
    layers.folder(BOOT_FOLDER)
    complete.touch()


def boot_script() -> str:
    """The shell script that builds the host's file system in its namespaces."""
    return _script("boot.sh")


class Layers:
    """The upper layers of one host, one for each file system of the machine.

    Args:
        folder: gets ``upper`` and ``work``, and for a tree ``/var`` also ``var/upper`` and ``var/work``.
        tree_names: the mount points of those file systems, ``/`` among them.
    """

    def __init__(self, folder: Path, tree_names: list[str]) -> None:
        self._uppers = {tree: Path(f"{folder}{tree}") / "upper" for tree in tree_names}
        for upper in self._uppers.values():
            upper.mkdir(parents=True)
            (upper.parent / "work").mkdir()
            upper.chmod(0o755)

    def place(self, path: str) -> Path:
        """Where a file of the host lies on the machine."""
        tree = max((t for t in self._uppers if path == t or path.startswith(f"{t.rstrip('/')}/")), key=len)
        return self._uppers[tree] / path.removeprefix(tree).lstrip("/")

    def folder(self, path: str) -> Path:
        """Makes sure of a folder, with owner and mode of the machine's folder of that name if there is one."""
        place = self.place(path)
        if not place.is_dir():
            if path != "/":
                self.folder(str(Path(path).parent))
            place.mkdir(exist_ok=True)
            if Path(path).is_dir():
                _copy_owner_and_mode(Path(path), place)
        return place

    def hide(self, path: str) -> None:
        """Makes the folder an empty one, whatever the machine has there."""
        os.setxattr(self.folder(path), _OPAQUE, b"y")

    def copy_folders(self, path: str) -> None:
        """Makes the folders that the machine has directly in that folder, empty."""
        for entry in os.scandir(path) if Path(path).is_dir() else ():
            if entry.is_dir(follow_symlinks=False):
                self.folder(entry.path)

    def write(self, path: str, content: str, *, mode: int = 0o644) -> None:
        """Writes a file, owned by root."""
        self.folder(str(Path(path).parent))
        place = self.place(path)
        place.touch(mode=mode)
        place.chmod(mode)
        place.write_text(content)

    def copy(self, path: str, source: str) -> None:
        """Copies a file of the machine, if it is there."""
        if Path(source).is_file():
            self.write(path, Path(source).read_text())


def _write_identity(layers: Layers, host: HostLayout) -> None:
    neighbours = (host.lab.host(number) for number in range(1, MAX_HOSTS + 1))
    names = "".join(f"{neighbour.address} {neighbour.name}\n" for neighbour in neighbours)
    layers.write("/etc/hosts", f"127.0.0.1 localhost\n::1 localhost\n{names}")
    layers.write("/etc/hostname", f"{host.name}\n")
    layers.write("/etc/resolv.conf", "# A lab has no name server.\n")
    layers.write("/etc/fstab", "")
    layers.write("/etc/machine-id", f"{secrets.token_hex(16)}\n")
    for name in (".bashrc", ".profile"):
        layers.copy(f"/root/{name}", f"/etc/skel/{name}")
    # Machines without a BIOS table give libvirt a new identity at each start, and those with one give all hosts the
    # same, with which it refuses to migrate between them.
    packaged = Path("/etc/libvirt/libvirtd.conf")
    settings = packaged.read_text() if packaged.is_file() else ""
    layers.write("/etc/libvirt/libvirtd.conf", f'{settings}\nhost_uuid_source = "machine-id"\n')


def _write_ssh(machine: Machine, layers: Layers, host: HostLayout) -> None:
    for name in ("ssh_config", "moduli"):
        layers.copy(f"/etc/ssh/{name}", f"/etc/ssh/{name}")
    layers.write("/etc/ssh/sshd_config", _SSHD_CONFIG)
    key = layers.place("/etc/ssh/ssh_host_ed25519_key")
    machine.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", host.name, "-f", key)
    layers.write("/root/.ssh/authorized_keys", host.lab.key_file.with_suffix(".pub").read_text(), mode=0o600)
    layers.place("/root/.ssh").chmod(0o700)
    password = host.lab.password_file.read_text().strip()
    layers.write("/etc/cairn-lab/password", f"root:{password}\n", mode=0o600)


def _copy_owner_and_mode(source: Path, target: Path) -> None:
    status = source.stat()
    os.chown(target, status.st_uid, status.st_gid)
    target.chmod(status.st_mode & 0o7777)


def _script(name: str) -> str:
    return resources.files("cairn.lab").joinpath("scripts", name).read_text()
