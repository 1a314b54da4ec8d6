from __future__ import annotations

import json

import pytest

from cairn.agents.kvm.metadata import answer
from cairn.agents.protocol.network import MetadataEntry

VM = MetadataEntry(
    ip="10.0.0.5",
    vm="a" * 32,
    hostname="web1",
    user_data=b"#cloud-config\n",
    ssh_keys=["ssh-ed25519 AAAA one", "ssh-rsa BBBB two"],
)
BARE = MetadataEntry(ip="10.0.0.6", vm="b" * 32, hostname="web2")


@pytest.mark.parametrize("version", ["latest", "2009-04-04", "1.0"])
@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/meta-data/instance-id", "a" * 32),
        ("/meta-data/local-hostname", "web1"),
        ("/meta-data/hostname", "web1"),
        ("/meta-data/local-ipv4", "10.0.0.5"),
        ("/meta-data/", "hostname\ninstance-id\nlocal-hostname\nlocal-ipv4\npublic-keys/"),
        ("/meta-data/public-keys/", "0=key-0\n1=key-1"),
        ("/meta-data/public-keys/1", "openssh-key"),
        ("/meta-data/public-keys/1/openssh-key", "ssh-rsa BBBB two"),
        ("/user-data", "#cloud-config\n"),
        ("/", "meta-data\nuser-data"),
    ],
)
def test_ec2_shape(version: str, path: str, text: str) -> None:
    assert answer(VM, f"/{version}{path}").body == text.encode()


def test_nocloud_shape() -> None:
    assert json.loads(answer(VM, "/meta-data").body or b"") == {
        "instance-id": "a" * 32,
        "local-hostname": "web1",
        "public-keys": VM.ssh_keys,
    }
    assert answer(VM, "/user-data").body == b"#cloud-config\n"
    assert answer(VM, "/vendor-data").body == b""


def test_root_lists_versions() -> None:
    assert b"latest" in (answer(VM, "/").body or b"").splitlines()


def test_vm_without_user_data_and_keys() -> None:
    assert answer(BARE, "/latest/user-data").body is None
    assert answer(BARE, "/user-data").body == b""
    assert answer(BARE, "/latest/meta-data/public-keys/").body is None
    assert answer(BARE, "/latest/").body == b"meta-data"


@pytest.mark.parametrize(
    "path", ["/openstack", "/2030-01-01/meta-data", "/latest/meta-data/x", "/latest/meta-data/hostname/x", "/latest/x"]
)
def test_what_is_not_there_is_not_found(path: str) -> None:
    assert answer(VM, path).body is None


def test_user_data_is_bytes_and_leaves_as_it_came() -> None:
    compressed = bytes(range(256))
    vm = MetadataEntry(ip="10.0.0.7", vm="c" * 32, hostname="web3", user_data=compressed)
    assert answer(vm, "/user-data").body == compressed
    assert answer(vm, "/latest/user-data").body == compressed
