from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from cairn.agents.errors import AgentError
from cairn.agents.kvm.flat_config import (
    FlatNetwork,
    dhcp_hosts,
    dns_names,
    dnsmasq_conf,
    isolation_rules,
    keeping,
    own_names,
    with_dhcp,
    with_names,
    without,
)
from cairn.agents.protocol import codes
from cairn.agents.protocol.names import bucket_of
from cairn.agents.protocol.network import DhcpEntry, EnsureDhcp, MetadataEntry, SetNames

L3 = "ab" * 16


def entry(number: int, **changes: object) -> DhcpEntry:
    fields = {"mac": f"fa:00:00:00:00:0{number}", "ip": f"10.0.0.1{number}", "hostname": f"web{number}", "vm": "a" * 32}
    return DhcpEntry(**{**fields, **changes})  # type: ignore[arg-type]


def command(*entries: DhcpEntry, **changes: object) -> EnsureDhcp:
    fields = {"network": L3, "bridge": "br0", "dhcp_ip": "10.0.0.2", "netmask": "255.255.255.0", "gateway": "10.0.0.1"}
    return EnsureDhcp(**{**fields, "entries": list(entries), **changes})  # type: ignore[arg-type]


def network(*entries: DhcpEntry, **changes: object) -> FlatNetwork:
    return with_dhcp(FlatNetwork(network=L3), command(*entries, **changes))


def conf(**changes: object) -> list[str]:
    made = network(entry(1), **changes)
    assert made.dhcp is not None
    return dnsmasq_conf(made, made.dhcp, Path("/d")).splitlines()


def test_only_known_machines_are_answered_from_static_leases() -> None:
    lines = conf()
    assert "dhcp-ignore=tag:!known" in lines
    assert "dhcp-range=10.0.0.0,static,255.255.255.0,24h" in lines
    assert "dhcp-hostsfile=/d/hosts" in lines


def test_default_route_goes_only_to_default_cards_by_both_options() -> None:
    lines = conf()
    assert "dhcp-option=tag:default,3,10.0.0.1" in lines
    assert "dhcp-option=tag:!default,3" in lines
    for option in (121, 249):
        assert f"dhcp-option=tag:default,{option},169.254.169.254/32,10.0.0.2,0.0.0.0/0,10.0.0.1" in lines
        assert f"dhcp-option=tag:!default,{option},169.254.169.254/32,10.0.0.2" in lines


def test_network_without_a_gateway_gives_no_default_route() -> None:
    lines = conf(gateway="")
    assert "dhcp-option=3" in lines
    assert not any("0.0.0.0/0" in line for line in lines)


def test_name_servers_domain_and_mtu() -> None:
    assert {"dhcp-option=6,10.0.0.2", "dhcp-option=26,1500"} <= set(conf())
    lines = conf(dns=["1.1.1.1", "8.8.8.8"], domain="example.org", mtu=1450)
    assert {"dhcp-option=6,1.1.1.1,8.8.8.8", "dhcp-option=15,example.org", "dhcp-option=26,1450"} <= set(lines)


@pytest.mark.skipif(shutil.which("dnsmasq") is None, reason="dnsmasq-base is not installed")
def test_dnsmasq_understands_its_configuration(tmp_path: Path) -> None:
    path = tmp_path / "dnsmasq.conf"
    path.write_text("\n".join(conf(domain="example.org")))
    done = subprocess.run(["dnsmasq", "--test", f"--conf-file={path}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_leases_and_names_are_sorted_by_address() -> None:
    made = network(entry(2, is_default=False), entry(1))
    assert dhcp_hosts(made).splitlines() == [
        "fa:00:00:00:00:01,set:default,10.0.0.11",
        "fa:00:00:00:00:02,10.0.0.12",
    ]
    assert dns_names(made).splitlines() == ["10.0.0.11 web1", "10.0.0.12 web2"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [("My VM!", "my-vm"), ("a\nb,set:x", "a-b-set-x"), ("***", "ip-10-0-0-11"), ("x" * 80, "x" * 63), ("-a-", "a")],
)
def test_names_that_are_no_host_names_are_made_into_some(given: str, expected: str) -> None:
    assert network(entry(1, hostname=given)).entries["fa:00:00:00:00:01"].hostname == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"dhcp_ip": "10.0.0.2\nx"},
        {"netmask": "255.0.255.0"},
        {"gateway": "gw"},
        {"dns": ["1.1.1.1,2"]},
        {"domain": "a\nb"},
        {"bridge": "br0; x"},
        {"network": "../x"},
        {"metadata": [MetadataEntry(ip="10.0.0.3\n", vm="a" * 32, hostname="h")]},
        {"metadata": [MetadataEntry(ip="10.0.0.3", vm="x", hostname="h")]},
        {"entries": [DhcpEntry(mac="x", ip="10.0.0.3", hostname="h", vm="v")]},
        {"entries": [DhcpEntry(mac="fa:00:00:00:00:01", ip="10.0.0.3,x", hostname="h", vm="v")]},
    ],
)
def test_values_that_would_break_a_configuration_file_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(AgentError) as caught:
        with_dhcp(FlatNetwork(network=L3), msgspec.structs.replace(command(), **changes))
    assert caught.value.code == codes.BAD_REQUEST


def test_entries_are_added_and_replaced_by_mac_and_address() -> None:
    both = with_dhcp(network(entry(1)), command(entry(2)))
    assert len(both.entries) == 2
    moved = with_dhcp(both, command(entry(1, ip="10.0.0.77")))
    assert {e.ip for e in moved.entries.values()} == {"10.0.0.77", "10.0.0.12"}
    taken_over = with_dhcp(both, command(entry(3, ip="10.0.0.11")))
    assert {e.mac[-1] for e in taken_over.entries.values()} == {"2", "3"}


def told(vm: str, ip: str) -> MetadataEntry:
    return MetadataEntry(ip=ip, vm=vm * 32, hostname=vm)


def test_metadata_is_added_and_replaced_by_vm_and_address() -> None:
    first = network(entry(1), metadata=[told("a", "10.0.0.11"), told("a", "10.0.0.12")])
    assert list(first.metadata) == ["10.0.0.11", "10.0.0.12"]
    both = with_dhcp(first, command(metadata=[told("b", "10.0.0.13")]))
    assert len(both.metadata) == 3
    moved = with_dhcp(both, command(metadata=[told("a", "10.0.0.14")]))
    assert sorted(moved.metadata) == ["10.0.0.13", "10.0.0.14"]
    taken_over = with_dhcp(moved, command(metadata=[told("c", "10.0.0.13")]))
    assert taken_over.metadata["10.0.0.13"].hostname == "c"
    assert first.dhcp is not None
    assert first.dhcp.metadata == []


def test_entries_and_metadata_go_together() -> None:
    both = network(entry(1), entry(2), metadata=[told("a", "10.0.0.11"), told("b", "10.0.0.12")])
    left = without(both, {entry(1).mac}, {"a" * 32})
    assert (list(left.entries), list(left.metadata)) == ([entry(2).mac], ["10.0.0.12"])


def test_what_is_kept_are_entries_with_the_metadata_of_their_addresses() -> None:
    both = network(
        entry(1), entry(2), metadata=[told("a", "10.0.0.11"), told("b", "10.0.0.12"), told("c", "10.0.0.99")]
    )
    left = keeping(both, {entry(2).mac, "fa:00:00:00:00:09"})
    assert (list(left.entries), list(left.metadata)) == ([entry(2).mac], ["10.0.0.12"])


def test_names_of_other_machines_stand_beside_those_of_the_entries_which_win() -> None:
    made = with_names(network(entry(1)), SetNames(network=L3, names={"10.0.0.50": "Far!", "10.0.0.11": "stale"}))
    assert dns_names(made).splitlines() == ["10.0.0.11 web1", "10.0.0.50 far"]
    with pytest.raises(AgentError):
        with_names(made, SetNames(network=L3, names={"10.0.0.5\n1.2.3.4 bank": "x"}))


def test_names_of_some_buckets_are_told_anew() -> None:
    before = network(entry(1))
    before = with_names(before, SetNames(network=L3, names={f"10.0.1.{number}": f"n{number}" for number in range(20)}))
    gone = {ip for ip in before.names if bucket_of(ip, 4) == 2}
    assert 0 < len(gone) < 20

    after = with_names(before, SetNames(network=L3, names={"10.0.2.1": "new"}, anew=[2], buckets=4))

    assert before.names.keys() - after.names.keys() == gone
    assert after.names["10.0.2.1"] == "new"
    for buckets in (0, 1025):
        with pytest.raises(AgentError, match="1 to 1024 would fit"):
            with_names(before, SetNames(network=L3, anew=[0], buckets=buckets))


def test_the_server_answers_for_its_names_and_denies_no_others() -> None:
    assert not {"domain-needed", "bogus-priv"} & set(conf())
    lines = own_names(with_dhcp(FlatNetwork(network=L3), command(entry(1), domain="example.org"))).splitlines()
    assert lines == ["server=/web1/", "server=/web1.example.org/"]


_WORDS = ["ignore", "12345", "2h", "infinite", "60", "web", "web"]
_CAN_TRY = os.geteuid() == 0 and all(shutil.which(name) for name in ("dnsmasq", "busybox", "unshare", "ip"))
_CLIENT = """
set -e
mount -t tmpfs none /run
ip link set lo up
ip link add eth0 type veth peer name c0
ip address add 10.0.0.2/24 dev eth0
ip link set eth0 up
dnsmasq --conf-file="$1/dnsmasq.conf" --pid-file="$1/pid"
trap 'kill $(cat "$1/pid")' EXIT
printf '#!/bin/sh\n[ "$1" = bound ] && echo "$ip $hostname $lease"\nexit 0\n' > "$1/told"
chmod +x "$1/told"
for number in 1 2 3 4 5 6 7; do
  ip link set c0 down
  ip link set c0 address fa:00:00:00:00:0$number
  ip link set c0 up
  busybox udhcpc -i c0 -n -q -f -t 5 -T 1 -s "$1/told" 2>/dev/null
done
for name in ignore 12345 2h.example.org elsewhere; do
  busybox nslookup $name 10.0.0.2 2>&1 | grep -E "^Address.* 10.0.0.[0-9]+$|REFUSED|NXDOMAIN" || echo "$name: nothing"
done
busybox nslookup nobody 10.0.0.2 2>&1 | grep -oE "REFUSED|NXDOMAIN" | sort -u
"""


@pytest.mark.skipif(not _CAN_TRY, reason="needs root, dnsmasq-base and busybox")
def test_with_dnsmasq_itself_every_name_is_a_name_and_an_unknown_one_is_not_denied(tmp_path: Path) -> None:
    entries = [entry(number, hostname=name) for number, name in enumerate(_WORDS, 1)]
    made = with_dhcp(FlatNetwork(network=L3), command(*entries, domain="example.org"))
    made = with_names(made, SetNames(network=L3, names={"10.0.0.50": "elsewhere"}))
    assert made.dhcp is not None
    files = {"dnsmasq.conf": dnsmasq_conf(made, made.dhcp, tmp_path), "hosts": dhcp_hosts(made)}
    for name, text in {**files, "names": dns_names(made), "own": own_names(made)}.items():
        (tmp_path / name).write_text(text)
    for folder in (tmp_path, *tmp_path.parents):
        if folder != Path("/tmp") and folder.is_relative_to("/tmp"):
            folder.chmod(0o755)

    command_line = [
        *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"),  # what the script starts ends with it
        *("bash", "-c", _CLIENT, "sh", str(tmp_path)),
    ]
    done = subprocess.run(command_line, capture_output=True, text=True, timeout=120)

    assert done.stdout.splitlines() == [
        *(f"10.0.0.1{number} {name} 86400" for number, name in enumerate(_WORDS, 1)),
        "Address: 10.0.0.11",
        "Address: 10.0.0.12",
        "Address: 10.0.0.13",
        "Address: 10.0.0.50",
        "REFUSED",
    ], done.stderr


def test_names_on_the_machine_fit_and_the_mac_is_the_same_on_every_host() -> None:
    made = network(entry(1))
    assert len(made.outer) <= 15
    assert made.mac == network(entry(2)).mac
    assert int(made.mac[:2], 16) & 0b11 == 0b10  # local, unicast


def test_rules_stop_arp_and_dhcp_of_the_server_in_both_directions_without_conntrack() -> None:
    made = network(entry(1))
    assert made.dhcp is not None
    rules = isolation_rules(made, made.dhcp, "vx42")
    for direction in ("iifname", "oifname"):
        for side in ("saddr", "daddr"):
            assert f'{direction} "vx42" arp {side} ip {{ 10.0.0.2, 169.254.169.254 }} drop' in rules
    assert 'oifname "vx42" ether saddr { fa:00:00:00:00:01 } udp dport 67 drop' in rules
    assert "ct " not in rules
    assert rules.startswith(f"table bridge {made.table} {{ }}\ndelete table bridge {made.table}\n")


def test_without_an_uplink_there_is_nothing_to_stop() -> None:
    made = network(entry(1))
    assert made.dhcp is not None
    assert "chain" not in isolation_rules(made, made.dhcp, None)
