from __future__ import annotations

from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.agents.kvm.domain_xml import CLOUD_INIT_SEED, domain_xml
from cairn.agents.protocol.vm import Disk, Hardware, Nic, StartVm

VM = "0123456789abcdef0123456789abcdef"
COMMAND = StartVm(
    hardware=Hardware(uuid=VM, name="web <1>\n& more", cpu_num=2, memory_size=256 << 20),
    disks=[
        Disk(path="/ps/data.qcow2", device_id=1, volume="d" * 32),
        Disk(path="/ps/root.qcow2", device_id=0, volume="e" * 32),
    ],
    nics=[Nic(mac="fa:00:00:00:00:01", bridge="br_eth0", device="vnic1.0", mtu=1450)],
)


def tree(accelerator: str = "tcg", command: StartVm = COMMAND) -> ElementTree.Element:
    caches = {"/ps/root.qcow2": "none", "/ps/data.qcow2": "writeback"}
    return ElementTree.fromstring(domain_xml(command, accelerator=accelerator, console_log="/log/x.log", caches=caches))


def value(element: ElementTree.Element, path: str, attribute: str) -> str | None:
    found = element.find(path)
    assert found is not None, path
    return found.get(attribute)


def test_identity_and_size() -> None:
    domain = tree()
    assert domain.findtext("name") == VM
    assert domain.findtext("uuid") == "01234567-89ab-cdef-0123-456789abcdef"
    assert domain.findtext("title") == "web <1> & more"
    assert (domain.findtext("memory"), value(domain, "memory", "unit")) == ("262144", "KiB")
    assert domain.findtext("vcpu") == "2"
    assert domain.findtext("on_crash") == "destroy"
    assert domain.find("features/acpi") is not None


def test_accelerator_decides_type_and_processor() -> None:
    assert (tree("tcg").get("type"), value(tree("tcg"), "cpu", "mode")) == ("qemu", "custom")
    assert (tree("kvm").get("type"), value(tree("kvm"), "cpu", "mode")) == ("kvm", "host-model")


def test_disks_are_in_order_and_only_the_root_disk_boots() -> None:
    root, data = tree().findall("devices/disk")
    assert value(root, "source", "file") == "/ps/root.qcow2"
    assert (value(root, "target", "dev"), value(root, "target", "bus")) == ("vda", "virtio")
    assert value(root, "boot", "order") == "1"
    assert root.findtext("serial") == "e" * 32
    assert (value(root, "driver", "type"), value(root, "driver", "cache")) == ("qcow2", "none")
    assert (value(data, "target", "dev"), value(data, "driver", "cache")) == ("vdb", "writeback")
    assert data.find("boot") is None


def plain(platform: str = "Other", *, virtio: bool = False) -> ElementTree.Element:
    hardware = msgspec.structs.replace(COMMAND.hardware, platform=platform, virtio=virtio)
    disks = [msgspec.structs.replace(disk, bus="virtio" if virtio else "ide") for disk in COMMAND.disks]
    nics = [msgspec.structs.replace(COMMAND.nics[0], model="virtio" if virtio else "e1000")]
    return tree(command=msgspec.structs.replace(COMMAND, hardware=hardware, disks=disks, nics=nics))


def test_guest_without_virtio_drivers_gets_devices_that_every_system_knows() -> None:
    domain = plain()
    root = domain.findall("devices/disk")[0]
    assert (value(root, "target", "dev"), value(root, "target", "bus")) == ("hda", "ide")
    assert value(domain, "devices/interface/model", "type") == "e1000"
    assert domain.find("devices/rng") is None
    assert value(domain, "devices/memballoon", "model") == "none"


def test_fifth_ide_disk_is_sata_since_there_are_four_places() -> None:
    fifth = Disk(path="/ps/root.qcow2", device_id=4, bus="ide")
    domain = tree(command=msgspec.structs.replace(COMMAND, disks=[fifth]))
    assert (value(domain, "devices/disk/target", "dev"), value(domain, "devices/disk/target", "bus")) == ("sde", "sata")


@pytest.mark.parametrize(
    ("platform", "offset"),
    [("Linux", "utc"), ("Other", "utc"), ("Windows", "localtime"), ("WindowsVirtio", "localtime")],
)
def test_clock_is_what_the_guests_system_takes_it_for(platform: str, offset: str) -> None:
    assert value(plain(platform), "clock", "offset") == offset


@given(st.text())
def test_any_name_makes_a_description_that_can_be_read(name: str) -> None:
    hardware = msgspec.structs.replace(COMMAND.hardware, name=name)
    assert tree(command=msgspec.structs.replace(COMMAND, hardware=hardware)).findtext("title")


@pytest.mark.parametrize("name", ["web\x01\uffff", "\x1b[2J", "\ud800", "\0"])
def test_name_that_no_xml_can_carry_is_shown_without_what_it_cannot_carry(name: str) -> None:
    hardware = msgspec.structs.replace(COMMAND.hardware, name=name)
    title = tree(command=msgspec.structs.replace(COMMAND, hardware=hardware)).findtext("title")
    assert title in ("web", "[2J", VM)


def test_network_card_is_a_named_tap_in_the_bridge() -> None:
    nic = tree().find("devices/interface")
    assert nic is not None
    assert nic.get("type") == "bridge"
    assert value(nic, "mac", "address") == "fa:00:00:00:00:01"
    assert value(nic, "source", "bridge") == "br_eth0"
    assert value(nic, "target", "dev") == "vnic1.0"
    assert value(nic, "model", "type") == "virtio"
    assert value(nic, "mtu", "size") == "1450"


def test_console_is_logged_and_the_screen_is_on_loopback_only() -> None:
    domain = tree()
    assert value(domain, "devices/serial/log", "file") == "/log/x.log"
    assert value(domain, "devices/graphics", "listen") == "127.0.0.1"
    assert value(domain, "devices/graphics", "autoport") == "yes"
    assert value(domain, "devices/controller[@type='usb']", "model") == "none"


def test_cloud_init_is_told_where_its_data_is() -> None:
    assert tree().findtext("sysinfo/system/entry[@name='serial']") == CLOUD_INIT_SEED
    assert value(tree(), "os/smbios", "mode") == "sysinfo"
