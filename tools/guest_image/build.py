"""Builds cairn's guest image: a 13 MB qcow2 that boots in seconds and shows that a virtual machine really runs.

The kernel and its modules come from Debian's cloud kernel package, which is only unpacked, never installed; everything
else is one static busybox and the scripts in ``files/``. No loop device, no mount and no root are needed: the partition
table, file system and boot loader are written into a plain file.

    python tools/guest_image/build.py --output guest.qcow2
"""

from __future__ import annotations

import argparse
import fcntl
import gzip
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FILES = Path(__file__).parent / "files"
KERNEL_META_PACKAGE = "linux-image-cloud-amd64"
BUSYBOX = Path("/usr/bin/busybox")
MBR = Path("/usr/lib/syslinux/mbr/mbr.bin")
DISK_BYTES = 24 * 1024 * 1024
PARTITION_START_BYTES = 1024 * 1024
SECTOR_BYTES = 512
#: The volume's serial number and all times inside are fixed, so that equal inputs give an equal image.
VOLUME_ID = "ca152024"
EPOCH_SECONDS = 1_700_000_000

#: Loaded before anything else happens; without these there is no disk, network, or power button.
FIRST_MODULES = (
    "virtio_pci", "virtio_net", "virtio_blk", "virtio_balloon", "virtio_rng",
    "button", "evdev", "vfat", "nls_cp437", "nls_ascii",
)  # fmt: skip
#: Loaded once the guest is up, for disks and CD-ROMs on other controllers.
LATER_MODULES = ("virtio_scsi", "sd_mod", "sr_mod", "isofs", "ata_piix")

#: file under files/ -> its place in the initramfs
SCRIPTS = {
    "init": "init",
    "inittab": "etc/inittab",
    "boot": "etc/boot",
    "network": "etc/network",
    "announce": "etc/announce",
    "lease": "etc/lease",
    "halt": "etc/halt",
    "power-button": "etc/acpi/PWRF/00000080",
    "bash": "bin/bash",
    "console": "etc/console",
}
FOLDERS = (
    "bin",
    "dev",
    "disk",
    "etc",
    "etc/acpi",
    "etc/acpi/PWRF",
    "modules",
    "proc",
    "run",
    "sys",
    "tmp",
    "var",
    "var/run",
    "www",
)

#: command -> the Debian package that has it
TOOLS = {
    "parted": "parted",
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
    "syslinux": "syslinux",
    "qemu-img": "qemu-utils",
    "dpkg-deb": "dpkg",
}


class BuildError(Exception):
    """The image cannot be built; the text says what to do."""


@dataclass(frozen=True)
class Entry:
    """One file or folder of the initramfs."""

    name: str
    mode: int
    content: bytes = b""


def cpio(entries: Iterable[Entry]) -> bytes:
    """A "newc" archive as the kernel reads it, owned by root, with fixed times."""
    out = bytearray()
    for number, entry in enumerate([*entries, Entry("TRAILER!!!", 0)], start=1):
        name = entry.name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(entry.mode) else 1
        fields = (number, entry.mode, 0, 0, links, EPOCH_SECONDS, len(entry.content), 0, 0, 0, 0, len(name), 0)
        out += b"070701" + b"".join(b"%08x" % field for field in fields) + name
        out += b"\0" * (-len(out) % 4) + entry.content
        out += b"\0" * (-len(out) % 4)
    return bytes(out)


def module_dependencies(module: bytes) -> list[str]:
    """The names of the modules that a ``.ko`` file needs, as its ``depends=`` field says."""
    match = re.search(rb"\0depends=([^\0]*)\0", module)
    names = match.group(1).decode() if match else ""
    return [name.replace("-", "_") for name in names.split(",") if name]


def load_order(wanted: Iterable[str], dependencies: Callable[[str], list[str]]) -> list[str]:
    """``wanted`` and all they need, each once and after what it needs itself."""
    order: list[str] = []

    def visit(name: str) -> None:
        if name in order:
            return
        for needed in dependencies(name):
            visit(needed)
        order.append(name)

    for name in wanted:
        visit(name)
    return order


def initramfs(busybox: bytes, modules: Mapping[str, bytes]) -> bytes:
    """The compressed initramfs: busybox, the modules by name, and the scripts of ``files/``."""

    def needs(name: str) -> list[str]:
        if name not in modules:
            raise BuildError(f"The kernel package has no module {name}; it is not the cloud kernel this tool knows.")
        return module_dependencies(modules[name])

    first = load_order(FIRST_MODULES, needs)
    later = [name for name in load_order(LATER_MODULES, needs) if name not in first]
    entries = [Entry(folder, stat.S_IFDIR | 0o755) for folder in FOLDERS]
    entries.append(Entry("bin/busybox", stat.S_IFREG | 0o755, busybox))
    entries.append(Entry("bin/sh", stat.S_IFLNK | 0o777, b"busybox"))
    entries += [
        Entry(place, stat.S_IFREG | 0o755, (FILES / name).read_bytes()) for name, place in sorted(SCRIPTS.items())
    ]
    for list_name, names in (("first", first), ("later", later)):
        entries.append(Entry(f"modules/{list_name}", stat.S_IFREG | 0o644, "".join(f"{n}\n" for n in names).encode()))
        entries += [Entry(f"modules/{name}.ko", stat.S_IFREG | 0o644, modules[name]) for name in names]
    return gzip.compress(cpio(entries), compresslevel=9, mtime=0)


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Runs a program and returns what it printed.

    Raises:
        BuildError: it failed; with what it said.
    """
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH_SECONDS), "LC_ALL": "C", "MTOOLS_SKIP_CHECK": "1"}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise BuildError(f"{command[0]} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def check_tools() -> None:
    """Refuses at once, naming every package that is missing."""
    missing = {package for tool, package in TOOLS.items() if shutil.which(tool, path=_search_path()) is None}
    if not MBR.exists():
        missing.add("syslinux-common")
    if not BUSYBOX.exists() or b"/ld-linux" in BUSYBOX.read_bytes():
        missing.add("busybox-static")
    if missing:
        raise BuildError(f"Missing on this machine; run: apt-get install {' '.join(sorted(missing))}")


def _search_path() -> str:
    """PATH with the folders where Debian keeps mkfs and parted, which an ordinary user's PATH leaves out."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def kernel_package(cache: Path) -> Path:
    """The kernel's package file in ``cache``; downloaded by apt the first time, taken from there ever after."""
    cache.mkdir(parents=True, exist_ok=True)
    pattern = "linux-image-*-cloud-amd64_*.deb"
    if not any(cache.glob(pattern)):
        depends = run("apt-cache", "depends", KERNEL_META_PACKAGE)
        match = re.search(r"Depends: (linux-image-[0-9]\S*-cloud-amd64)", depends)
        if match is None:
            raise BuildError(f"apt knows no {KERNEL_META_PACKAGE}. Run apt-get update; Debian 12 on amd64 is needed.")
        run("apt-get", "download", match.group(1), cwd=cache)
    return max(cache.glob(pattern), key=lambda path: path.stat().st_mtime)


def unpack_kernel(package: Path, folder: Path) -> tuple[Path, dict[str, bytes]]:
    """The kernel's file and its modules by name (with ``_`` for ``-``)."""
    shutil.rmtree(folder, ignore_errors=True)
    run("dpkg-deb", "--extract", package, folder)
    kernels = list((folder / "boot").glob("vmlinuz-*"))
    if len(kernels) != 1:
        raise BuildError(f"{package.name} holds {len(kernels)} kernels where one was expected. Delete it and retry.")
    modules = {path.stem.replace("-", "_"): path for path in (folder / "lib/modules").rglob("*.ko")}
    wanted = load_order(
        [*FIRST_MODULES, *LATER_MODULES],
        lambda name: module_dependencies(modules[name].read_bytes()) if name in modules else [],
    )
    return kernels[0], {name: modules[name].read_bytes() for name in wanted if name in modules}


def write_disk(disk: Path, kernel: Path, initrd: Path) -> None:
    """A bootable raw disk: one FAT16 partition with boot loader, kernel and initramfs."""
    disk.unlink(missing_ok=True)
    with disk.open("wb") as file:
        file.truncate(DISK_BYTES)
    run(
        "parted", "-s", disk, "mklabel", "msdos", "mkpart", "primary", "fat16", "1MiB", "100%", "set", "1", "boot", "on"
    )
    kibibytes = (DISK_BYTES - PARTITION_START_BYTES) // 1024
    offset_sectors = PARTITION_START_BYTES // SECTOR_BYTES
    run("mkfs.vfat", "-F", "16", "-i", VOLUME_ID, "--offset", str(offset_sectors), disk, str(kibibytes))
    inside = f"{disk}@@{PARTITION_START_BYTES}"
    for source, name in ((kernel, "vmlinuz"), (initrd, "initrd.gz"), (FILES / "syslinux.cfg", "syslinux.cfg")):
        run("mcopy", "-i", inside, source, f"::{name}")
    run("syslinux", "--offset", str(PARTITION_START_BYTES), "--install", disk)
    with disk.open("r+b") as file:
        # 440 bytes of boot code; what follows is the disk's signature, fixed too, and the partition table.
        file.write(MBR.read_bytes()[:440] + bytes.fromhex(VOLUME_ID))


def build(output: Path, work: Path) -> None:
    """Writes the image to ``output``, which changes only when the new one is complete. Safe to repeat.

    Args:
        output: the qcow2 file; its folder is made when missing.
        work: keeps the downloaded kernel package (27 MB) and scratch files.

    Raises:
        BuildError: a tool is missing or failed.
    """
    os.environ["PATH"] = _search_path()
    check_tools()
    with alone_in(work):
        _build(output, work)


def _build(output: Path, work: Path) -> None:
    kernel, modules = unpack_kernel(kernel_package(work), work / "kernel")
    initrd = work / "initrd.gz"
    initrd.write_bytes(initramfs(BUSYBOX.read_bytes(), modules))
    disk = work / "disk.raw"
    write_disk(disk, kernel, initrd)
    output.parent.mkdir(parents=True, exist_ok=True)
    fresh = output.with_name(output.name + ".new")
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", disk, fresh)
    fresh.replace(output)
    shutil.rmtree(work / "kernel")
    disk.unlink()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """One build at a time works in a folder; another waits. The lock ends with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def default_work_folder() -> Path:
    """Where the download is kept: the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "cairn" / "guest-image"


def main() -> int:
    """The command line: 0 when the image was built, 1 with a sentence on standard error otherwise."""
    parser = argparse.ArgumentParser(description="Build cairn's guest image (13 MB) from Debian's packages.")
    parser.add_argument("--output", type=Path, required=True, help="the qcow2 file to write")
    parser.add_argument("--work-dir", type=Path, default=default_work_folder(), help="keeps the downloaded kernel")
    arguments = parser.parse_args()
    try:
        build(arguments.output.resolve(), arguments.work_dir.resolve())
    except BuildError as error:
        print(f"build.py: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
