"""The names, addresses and folders of a lab and its parts, derived from name, folder and subnet.

Nothing here looks at the machine. Everything that a lab leaves on a machine carries its name, so that it can be found
and taken away without any record of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from cairn.kernel.error import CairnError, ErrorKind

DEFAULT_NAME = "cairn"
#: The benchmarking range of RFC 2544: no real network uses it. Its lower half is the default lab's.
DEFAULT_SUBNET = IPv4Network("198.18.0.0/16")
#: Labs other than the default one take a /24 each of the upper half.
OTHER_SUBNETS = IPv4Network("198.19.0.0/16")
MAX_HOSTS = 100
SSH_PORT = 22
NAMESPACES = Path("/run/netns")
#: The only network card of a host.
HOST_LINK = "eth0"
#: The bridge inside the switch's namespace, and the port there that leads to the machine.
BRIDGE = "switch"
MACHINE_PORT = "machine"

_NAME = re.compile(r"[a-z][a-z0-9]{0,9}")
_HOST = re.compile(r"(?:host)?([1-9][0-9]{0,2})")


@dataclass(frozen=True)
class LabLayout:
    """The parts of one lab.

    Attributes:
        name: 1 to 10 lower-case letters and digits; short, because a link's name has 15 characters at most.
        folder: the lab's own folder, ``<data folder>/lab``.
        subnet: the addresses of the lab; the machine has the first, host 1 the eleventh.
    """

    name: str
    folder: Path
    subnet: IPv4Network

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise CairnError(
                "lab.wrong-name",
                f"A lab's name is 1 to 10 lower-case letters and digits, beginning with a letter; not {self.name!r}.",
                fields={"name": f"found {self.name!r}"},
            )

    @property
    def machine_link(self) -> str:
        """The link in the machine's own network by which it reaches the lab."""
        return f"{self.name}-lab0"

    @property
    def machine_address(self) -> IPv4Address:
        """The address at which hosts reach the machine, and the management node on it."""
        return self.subnet.network_address + 1

    @property
    def switch_namespace(self) -> str:
        """The network namespace that holds the bridge between all hosts."""
        return f"{self.name}-switch"

    @property
    def key_file(self) -> Path:
        """The private key that every host accepts for root; the public one is next to it (``.pub``)."""
        return self.folder / "id_ed25519"

    @property
    def password_file(self) -> Path:
        """The password that every host accepts for root."""
        return self.folder / "password"

    @property
    def disks(self) -> Path:
        """The folder with a folder for each host's disk."""
        return self.folder / "hosts"

    @property
    def prefix_length(self) -> int:
        """The subnet's prefix length in bits."""
        return self.subnet.prefixlen

    def host(self, number: int) -> HostLayout:
        """Host ``number``, counted from 1.

        Raises:
            CairnError: ``lab.too-many-hosts``.
        """
        if not 1 <= number <= MAX_HOSTS:
            raise CairnError("lab.too-many-hosts", f"A lab has 1 to {MAX_HOSTS} hosts; {number} was asked for.")
        return HostLayout(self, number)

    def owns_namespace(self, name: str) -> bool:
        """Whether a network namespace of that name is this lab's."""
        return re.fullmatch(rf"{self.name}-(switch|host[0-9]+)", name) is not None

    def owns_mark(self, argument: str) -> bool:
        """Whether that argument of a process says that it is process 1 of a host of this lab, or its parent."""
        return re.fullmatch(rf"cairn-lab:{self.name}:host[0-9]+", argument) is not None


@dataclass(frozen=True)
class HostLayout:
    """The parts of one host."""

    lab: LabLayout
    number: int

    @property
    def name(self) -> str:
        """The host's name, outside and inside the host."""
        return f"host{self.number}"

    @property
    def address(self) -> IPv4Address:
        """The host's address on the switch."""
        return self.lab.subnet.network_address + 10 + self.number

    @property
    def mac(self) -> str:
        """The address of the host's network card; the same after every boot."""
        third, fourth = self.address.packed[2:]
        return f"02:ca:12:{self.address.packed[1]:02x}:{third:02x}:{fourth:02x}"

    @property
    def namespace(self) -> str:
        """The host's network namespace."""
        return f"{self.lab.name}-{self.name}"

    @property
    def port(self) -> str:
        """The switch's port to this host, inside the switch's namespace."""
        return f"port{self.number}"

    @property
    def mark(self) -> str:
        """An argument of the host's process 1, by which it is found on the machine."""
        return f"cairn-lab:{self.lab.name}:{self.name}"

    @property
    def folder(self) -> Path:
        """The host's own folder: its disk with all that it has written, and its boot log."""
        return self.lab.disks / self.name

    @property
    def log(self) -> Path:
        """The output of process 1 and of the boot scripts."""
        return self.folder / "console.log"


def host_number(text: str) -> int:
    """The number of the host that a person calls ``host2`` or ``2``.

    Raises:
        CairnError: ``lab.unknown-host``.
    """
    match = _HOST.fullmatch(text)
    if match is None:
        raise CairnError(
            "lab.unknown-host",
            f"{text!r} is not a host of a lab; they are called host1, host2, …",
            kind=ErrorKind.NOT_FOUND,
        )
    return int(match.group(1))


def choose_subnet(name: str, taken: list[IPv4Network]) -> IPv4Network:
    """The subnet for a new lab: the default lab's own, or the first free /24 for any other.

    Args:
        name: the lab's name.
        taken: the networks that the machine is already in.

    Raises:
        CairnError: ``lab.no-subnet`` when all are taken.
    """
    candidates = [DEFAULT_SUBNET] if name == DEFAULT_NAME else OTHER_SUBNETS.subnets(new_prefix=24)
    for candidate in candidates:
        if not any(candidate.overlaps(network) for network in taken):
            return candidate
    raise CairnError(
        "lab.no-subnet",
        f"The machine already has addresses in {DEFAULT_SUBNET if name == DEFAULT_NAME else OTHER_SUBNETS}, "
        "which the lab needs. Take down the other lab (cairn lab down --name …), or that network.",
        kind=ErrorKind.CONFLICT,
    )
