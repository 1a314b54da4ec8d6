"""What the filters of taps and tunnels do to real frames: a bridge with two taps, an uplink and a DHCP server's port.

A frame that is dropped is told from one that is late by a frame behind it that passes: frames do not overtake each other.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from cairn.agents.kvm.filters import TapFilters, TunnelFilter
from cairn.agents.kvm.metadata_server import _in_namespace
from cairn.agents.programs import Completed, SubprocessRunner
from cairn.agents.protocol.vm import Tap

pytestmark = pytest.mark.lab

MINE, OTHERS, SERVERS = "fa:00:00:00:00:01", "fa:00:00:00:00:02", "0a:00:00:00:00:09"
EVERYBODY = "ff:ff:ff:ff:ff:ff"
MY_IP, OTHER_IP = "10.0.0.5", "10.0.0.6"
ENDS = ("vnic1", "vnic2", "cfd1", "uplink")
ALL = 0x0003
SECONDS = 2.0


class Namespace:
    """A network name space with a bridge; each of `ENDS` is a port of it, whose other end the test holds."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(["unshare", "-n", "cat"], stdin=subprocess.PIPE)
        self._path = Path(f"/proc/{self._holder.pid}/ns/net")
        while os.readlink(self._path) == os.readlink("/proc/self/ns/net"):
            os.sched_yield()
        lines = ["link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0", "link set br0 up"]
        for name in ENDS:
            lines += [f"link add {name} type veth peer name p-{name}", f"link set {name} master br0"]
            lines += [f"link set {end} addrgenmode none" for end in (name, f"p-{name}")]
            lines += [f"link set {end} up" for end in (name, f"p-{name}")]
        self.run(["ip", "-batch", "-"], "\n".join(lines))
        self.ends = {name: _in_namespace(self._path, lambda name=name: _raw(f"p-{name}")) for name in ENDS}  # type: ignore[misc]

    def run(self, argv: Sequence[str], stdin: str = "") -> str:
        command = ["nsenter", f"--net={self._path}", *argv]
        return subprocess.run(command, input=stdin, check=True, capture_output=True, text=True).stdout

    def socket(self) -> socket.socket:
        return _in_namespace(self._path, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    def passes(self, frame: bytes, *, came_from: str = "vnic1", to: str = "vnic2") -> bool:
        """Whether a frame from one end arrives at another."""
        marker = ethernet(OTHERS if to == "vnic2" else EVERYBODY, MINE, 0x0800, ipv4(MY_IP, OTHER_IP, 17, b"marker"))
        if came_from != "vnic1":
            marker = ethernet(EVERYBODY, SERVERS, 0x0800, ipv4("10.0.0.2", OTHER_IP, 17, b"marker"))
        self.ends[came_from].send(frame)
        self.ends[came_from].send(marker)
        while True:
            got = self.ends[to].recv(2048)
            if got.rstrip(b"\0") == frame.rstrip(b"\0"):
                self._until(to, marker)
                return True
            if got.rstrip(b"\0") == marker.rstrip(b"\0"):
                return False

    def _until(self, end: str, marker: bytes) -> None:
        while self.ends[end].recv(2048).rstrip(b"\0") != marker.rstrip(b"\0"):
            pass

    def end(self) -> None:
        for held in self.ends.values():
            held.close()
        self._holder.communicate()


class InNamespace(SubprocessRunner):
    """Runs programs in the name space."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace

    async def run(
        self, argv: Sequence[str], *, stdin: str = "", check: bool = True, timeout_seconds: float = 60.0
    ) -> Completed:
        return Completed(0, self._namespace.run(argv, stdin))


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = Namespace()
    yield made
    made.end()


@pytest.fixture
async def filters(namespace: Namespace) -> TapFilters:
    made = TapFilters(InNamespace(namespace), lambda _: "cfd1")
    mine = Tap(vm="a" * 32, device="vnic1", mac=MINE, addresses=[MY_IP])
    await made.set([mine, Tap(vm="b" * 32, device="vnic2", mac=OTHERS, addresses=[OTHER_IP])])
    return made


def _raw(name: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
    made.bind((name, 0))
    made.settimeout(SECONDS)
    return made


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ethernet(to: str, came_from: str, kind: int, body: bytes) -> bytes:
    return mac(to) + mac(came_from) + struct.pack("!H", kind) + body


def ipv4(source: str, to: str, protocol: int, body: bytes) -> bytes:
    ends = socket.inet_aton(source) + socket.inet_aton(to)
    head = struct.pack("!BBHHHBB", 0x45, 0, 20 + len(body), 1, 0, 64, protocol)
    total = sum(struct.unpack("!9H", head + ends))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return head + struct.pack("!H", ~total & 0xFFFF) + ends + body


def udp(source: int, to: int, body: bytes = b"x" * 20) -> bytes:
    return struct.pack("!HHHH", source, to, 8 + len(body), 0) + body


def ipv6(source: str, to: str, header: int, body: bytes) -> bytes:
    head = struct.pack("!IHBB", 0x60000000, len(body), header, 255)
    return head + socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, to) + body


def arp(hardware: str, address: str, operation: int = 2) -> bytes:
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    return head + mac(hardware) + socket.inet_aton(address) + mac(OTHERS) + socket.inet_aton(OTHER_IP)


def icmpv6(kind: int) -> bytes:
    return struct.pack("!BBHI", kind, 0, 0, 0) + b"\1" * 16


GOOD = {
    "its own address": ethernet(OTHERS, MINE, 0x0800, ipv4(MY_IP, OTHER_IP, 17, udp(1000, 80))),
    "a packet for all": ethernet(EVERYBODY, MINE, 0x0800, ipv4(MY_IP, "10.0.0.255", 17, udp(1000, 80))),
    "asking for an address": ethernet(EVERYBODY, MINE, 0x0800, ipv4("0.0.0.0", "255.255.255.255", 17, udp(68, 67))),
    "its own ARP": ethernet(OTHERS, MINE, 0x0806, arp(MINE, MY_IP)),
    "an ARP probe": ethernet(EVERYBODY, MINE, 0x0806, arp(MINE, "0.0.0.0", 1)),
    "where it is after a migration": ethernet(EVERYBODY, MINE, 0x8035, arp(MINE, "0.0.0.0", 3)),
    "link-local IPv6": ethernet(OTHERS, MINE, 0x86DD, ipv6("fe80::1", "fe80::2", 17, udp(1000, 80))),
    "looking for neighbours": ethernet("33:33:00:00:00:01", MINE, 0x86DD, ipv6("::", "ff02::1", 58, icmpv6(135))),
}
BAD = {
    "another's MAC address": ethernet(OTHERS, SERVERS, 0x0800, ipv4(MY_IP, OTHER_IP, 17, udp(1000, 80))),
    "another's address": ethernet(OTHERS, MINE, 0x0800, ipv4("10.0.0.7", OTHER_IP, 17, udp(1000, 80))),
    "no address": ethernet(EVERYBODY, MINE, 0x0800, ipv4("0.0.0.0", "255.255.255.255", 17, udp(1000, 80))),
    "another's address in ARP": ethernet(OTHERS, MINE, 0x0806, arp(MINE, "10.0.0.1")),
    "another's MAC address in ARP": ethernet(OTHERS, MINE, 0x0806, arp(SERVERS, MY_IP)),
    "a DHCP server": ethernet(EVERYBODY, MINE, 0x0800, ipv4(MY_IP, "255.255.255.255", 17, udp(67, 68))),
    "a DHCPv6 server": ethernet(OTHERS, MINE, 0x86DD, ipv6("fe80::1", "fe80::2", 17, udp(547, 546))),
    "an IPv6 router": ethernet("33:33:00:00:00:01", MINE, 0x86DD, ipv6("fe80::1", "ff02::1", 58, icmpv6(134))),
    "an IPv6 router in a fragment": ethernet(
        "33:33:00:00:00:01", MINE, 0x86DD, ipv6("fe80::1", "ff02::1", 44, b"\x3a\0\0\1\0\0\0\1" + icmpv6(134))
    ),
    "an IPv6 redirect": ethernet(OTHERS, MINE, 0x86DD, ipv6("fe80::1", "fe80::2", 58, icmpv6(137))),
    "another network's IPv6": ethernet(OTHERS, MINE, 0x86DD, ipv6("2001:db8::1", "fe80::2", 17, udp(1, 2))),
    "a VLAN tag": ethernet(OTHERS, MINE, 0x8100, b"\0\x05\x08\0" + ipv4(MY_IP, OTHER_IP, 17, udp(1000, 80))),
    "another protocol": ethernet(OTHERS, MINE, 0x88CC, b"lldp" * 12),
    "a frame for somebody else": ethernet("fa:00:00:00:00:77", MINE, 0x0800, ipv4(MY_IP, OTHER_IP, 17, udp(1, 2))),
}


@pytest.mark.parametrize("what", GOOD)
async def test_a_guest_sends_what_is_its_own(namespace: Namespace, filters: TapFilters, what: str) -> None:
    assert namespace.passes(GOOD[what])


@pytest.mark.parametrize("what", BAD)
async def test_what_is_not_its_own_is_dropped(namespace: Namespace, filters: TapFilters, what: str) -> None:
    assert not namespace.passes(BAD[what])


async def test_dhcp_replies_reach_a_guest_from_the_hosts_server_alone(
    namespace: Namespace, filters: TapFilters
) -> None:
    reply = ethernet(EVERYBODY, SERVERS, 0x0800, ipv4("10.0.0.2", "255.255.255.255", 17, udp(67, 68)))
    assert namespace.passes(reply, came_from="cfd1")
    assert not namespace.passes(reply, came_from="uplink")


async def test_a_tap_that_is_forgotten_is_free_and_the_others_stay(namespace: Namespace, filters: TapFilters) -> None:
    await filters.remove(["vnic1"])
    assert namespace.passes(BAD["another's address"])
    await filters.set([Tap(vm="a" * 32, device="vnic1", mac=MINE, addresses=[MY_IP])])
    assert not namespace.passes(BAD["another's address"])
    await filters.clear()
    assert "cairn" not in namespace.run(["nft", "list", "ruleset"])


async def test_a_tunnels_port_takes_packets_from_peers_only(namespace: Namespace) -> None:
    namespace.run(["ip", "link", "set", "lo", "up"])
    await TunnelFilter(InNamespace(namespace)).set({4789: ["127.0.0.2"]})
    listening, sending = namespace.socket(), [namespace.socket() for _ in range(2)]
    listening.settimeout(SECONDS)
    listening.bind(("127.0.0.1", 4789))
    for sender, address in zip(sending, ("127.0.0.3", "127.0.0.2"), strict=True):
        sender.bind((address, 0))
        sender.sendto(address.encode(), ("127.0.0.1", 4789))
    assert listening.recv(100) == b"127.0.0.2"
    for held in (listening, *sending):
        held.close()
