from __future__ import annotations

import pytest

from cairn.services.ids import L2NetworkId, ZoneId
from cairn.services.l2.model import L2Network, L2Type
from cairn.testing.clock import START


def network(interface: str | None, vni: int | None = None) -> L2Network:
    return L2Network(
        uuid=L2NetworkId("u"),
        name="n",
        zone_uuid=ZoneId("z"),
        physical_interface=interface,
        type=L2Type.VXLAN if vni else L2Type.NO_VLAN,
        vni=vni,
        create_date=START,
        last_op_date=START,
    )


@pytest.mark.parametrize(
    ("interface", "vni", "bridge"),
    [
        ("eth0", None, "br_eth0"),
        ("enp0s31f6abc", None, "br_enp0s31f6abc"),
        (None, 1, "br_vx_1"),
        (None, 16_777_214, "br_vx_16777214"),
    ],
)
def test_a_bridge_is_named_after_what_it_carries(interface: str | None, vni: int | None, bridge: str) -> None:
    assert network(interface, vni).bridge == bridge
    assert len(bridge) <= 15


def test_a_bridge_of_a_long_interface_has_a_short_name_of_its_own() -> None:
    names = {network(interface).bridge for interface in ("enx0011223344556"[:15], "enx001122334466")}
    assert len(names) == 2
    assert all(len(name) <= 15 and name.startswith("br") for name in names)


def test_tunnels_leave_room_for_their_headers() -> None:
    assert (network("eth0").mtu, network(None, 7).mtu) == (1500, 1450)
