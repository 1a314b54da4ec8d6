from __future__ import annotations

import json

import pytest

from cairn.agents.kvm.metadata import answer
from cairn.agents.protocol.network import MetadataEntry

VM = MetadataEntry(
    ip="10.0.0.5",
    vm="a" * 32,
    hostname="web1",
    user_data="#cloud-config\n",
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
    assert answer(VM, f"/{version}{path}").text == text


def test_nocloud_shape() -> None:
    assert json.loads(answer(VM, "/meta-data").text or "") == {
        "instance-id": "a" * 32,
        "local-hostname": "web1",
        "public-keys": VM.ssh_keys,
    }
    assert answer(VM, "/user-data").text == "#cloud-config\n"
    assert answer(VM, "/vendor-data").text == ""


def test_root_lists_versions() -> None:
    assert "latest" in (answer(VM, "/").text or "").splitlines()


def test_vm_without_user_data_and_keys() -> None:
    assert answer(BARE, "/latest/user-data").text is None
    assert answer(BARE, "/user-data").text == ""
    assert answer(BARE, "/latest/meta-data/public-keys/").text is None
    assert answer(BARE, "/latest/").text == "meta-data"


@pytest.mark.parametrize(
    "path", ["/openstack", "/2030-01-01/meta-data", "/latest/meta-data/x", "/latest/meta-data/hostname/x", "/latest/x"]
)
def test_what_is_not_there_is_not_found(path: str) -> None:
    assert answer(VM, path).text is None
