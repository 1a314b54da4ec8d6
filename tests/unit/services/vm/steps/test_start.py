from __future__ import annotations

import msgspec

from cairn.agents.protocol.vm import Disk, Hardware, Nic
from cairn.services.host.extensions import Candidate
from cairn.services.ids import ClusterId, HostId, L3NetworkId, PrimaryStorageId, VmId, VolumeId, ZoneId
from cairn.services.primary_storage.extensions import VolumeSpec
from cairn.services.vm.definition import VmDefinition
from cairn.services.vm.extensions import NicSpec
from cairn.services.vm.steps.start import StartOnHostInput

GIVEN = StartOnHostInput(
    vm=VmDefinition(
        uuid=VmId("vm"),
        name="web",
        cpu_num=2,
        memory_size=1 << 30,
        default_l3_network_uuid=L3NetworkId("l3"),
        hostname="web",
        user_data=b"password: geheim",
        ssh_keys=["ssh-ed25519 SCHLUESSEL"],
    ),
    place=Candidate(host_uuid=HostId("host"), cluster_uuid=ClusterId("cluster"), zone_uuid=ZoneId("zone"), name="sim"),
    nics=[
        NicSpec(
            uuid="nic",
            mac="fa:00:00:00:00:01",
            ip="10.0.0.5",
            netmask="255.255.255.0",
            gateway="10.0.0.1",
            l3_network_uuid=L3NetworkId("l3"),
            device_id=0,
            internal_name="vnic1",
            is_default=True,
        )
    ],
    bridges={"l3": "br_vx_9"},
    mtus={"l3": 1450},
    root_volume=VolumeSpec(
        uuid=VolumeId("disk"),
        primary_storage_uuid=PrimaryStorageId("ps"),
        install_path="/ps/disk",
        format="raw",
        size_bytes=1,
        device_id=0,
    ),
)


def test_the_host_is_told_of_hardware_disks_and_cards() -> None:
    command = GIVEN.command()
    assert command.hardware == Hardware(uuid="vm", name="web", cpu_num=2, memory_size=1 << 30)
    assert command.disks == [Disk(path="/ps/disk", device_id=0, format="raw", volume="disk")]
    assert command.nics == [
        Nic(mac="fa:00:00:00:00:01", bridge="br_vx_9", device="vnic1", mtu=1450, addresses=["10.0.0.5"])
    ]


def test_the_host_is_told_no_secrets() -> None:
    sent = msgspec.json.encode(GIVEN.command())
    assert b"geheim" not in sent
    assert b"SCHLUESSEL" not in sent
