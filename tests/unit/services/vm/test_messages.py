from __future__ import annotations

import pytest

from cairn.kernel.error import CairnError, ErrorKind
from cairn.services.vm.messages import CreateVmInstance

LAN, NET, OFFERING = "a" * 32, "b" * 32, "c" * 32


def create(**fields: object) -> CreateVmInstance:
    given: dict[str, object] = {
        "name": "web",
        "image_uuid": "d" * 32,
        "l3_network_uuids": [LAN],
        "cpu_num": 1,
        "memory_size": 1 << 30,
    }
    return CreateVmInstance(**(given | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"instance_offering_uuid": OFFERING, "cpu_num": None, "memory_size": None},
        {"l3_network_uuids": [LAN, NET], "default_l3_network_uuid": NET},
    ],
)
def test_one_size_and_each_network_once_is_taken(fields: dict[str, object]) -> None:
    create(**fields).check()


@pytest.mark.parametrize(
    ("fields", "code", "wrong"),
    [
        ({"cpu_num": None}, "vm.size-missing", {"cpuNum"}),
        ({"cpu_num": None, "memory_size": None}, "vm.size-missing", {"cpuNum", "memorySize"}),
        ({"instance_offering_uuid": OFFERING, "cpu_num": None}, "vm.two-sizes", {"memorySize"}),
        ({"l3_network_uuids": [LAN, NET, LAN]}, "vm.network-twice", {"l3NetworkUuids"}),
        ({"default_l3_network_uuid": NET}, "vm.default-network", {"defaultL3NetworkUuid"}),
    ],
)
def test_what_can_never_be_made_is_refused_with_the_fields(
    fields: dict[str, object], code: str, wrong: set[str]
) -> None:
    with pytest.raises(CairnError) as caught:
        create(**fields).check()
    assert (caught.value.code, caught.value.kind) == (code, ErrorKind.INVALID)
    assert set(caught.value.fields or {}) == wrong


def test_the_first_network_is_the_default_one() -> None:
    assert create(l3_network_uuids=[NET, LAN]).default_network == NET
    assert create(l3_network_uuids=[NET, LAN], default_l3_network_uuid=LAN).default_network == LAN
