from __future__ import annotations

import msgspec
import pytest

from cairn.kernel.api import Http, Uuid, action, command_name, delete, get, post


@pytest.mark.parametrize(
    ("api", "command"),
    [
        ("CreateVmInstance", "create-vm-instance"),
        ("AddKVMHost", "add-kvm-host"),
        ("CreateL2NoVlanNetwork", "create-l2-no-vlan-network"),
        ("QueryL3Network", "query-l3-network"),
        ("LogIn", "log-in"),
        ("GetEIPs", "get-ei-ps"),
    ],
)
def test_command_is_the_api_s_words_joined_by_dashes(api: str, command: str) -> None:
    assert command_name(api) == command


def test_shapes_of_calls() -> None:
    assert post("/zones") == Http(verb="POST", path="/zones", key="params")
    assert action("/zones/{uuid}/actions", "updateZone").key == "updateZone"
    assert delete("/zones/{uuid}").verb == "DELETE"
    assert get("/zones").key is None


@pytest.mark.parametrize("text", ["", "a" * 31, "a" * 33, "A" * 32, "g" * 32, "a" * 32 + "\n", "\n" + "a" * 32])
def test_uuid_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(text, Uuid)


def test_uuid_is_taken() -> None:
    assert msgspec.convert("0123456789abcdef" * 2, Uuid)
