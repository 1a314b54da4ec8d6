"""The libvirt description of a VM."""

from __future__ import annotations

import re
import uuid
from xml.etree.ElementTree import Element, SubElement, tostring

from cairn.agents.protocol.vm import Disk, Hardware, Nic, StartVm

#: The serial number of the machine, from which cloud-init learns where it is served (`cairn.agents.kvm.metadata`).
CLOUD_INIT_SEED = "ds=nocloud-net;s=http://169.254.169.254/"
#: The emulated machine, by architecture. `pc` has four places for IDE disks.
MACHINES = {"x86_64": "pc", "aarch64": "virt"}
_IDE_DISKS = 4
_KEEPS_LOCAL_TIME = ("Windows", "WindowsVirtio")
#: Characters that XML 1.0 cannot carry, in any spelling. The API refuses them; rows of earlier versions may have some.
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def domain_xml(command: StartVm, *, accelerator: str, console_log: str, caches: dict[str, str]) -> str:
    """Describe the VM of `command`.

    Args:
        command: what was asked for.
        accelerator: ``kvm`` or ``tcg``, decided.
        console_log: the file that the serial console is written to.
        caches: disk path -> QEMU's cache mode.
    """
    kvm = accelerator == "kvm"
    hardware = command.hardware
    domain = Element("domain", type="kvm" if kvm else "qemu")
    _text(domain, "name", hardware.uuid)
    _text(domain, "uuid", str(uuid.UUID(hardware.uuid)))
    _text(domain, "title", " ".join(_NOT_XML.sub(" ", hardware.name).split()) or hardware.uuid)
    _text(domain, "memory", str(hardware.memory_size // 1024), unit="KiB")
    _text(domain, "vcpu", str(hardware.cpu_num))
    _firmware(domain, hardware)
    features = SubElement(domain, "features")
    SubElement(features, "acpi")
    SubElement(features, "apic")
    _cpu(domain, kvm=kvm)
    _clock(domain, local=hardware.platform in _KEEPS_LOCAL_TIME)
    _text(domain, "on_poweroff", "destroy")
    _text(domain, "on_reboot", "restart")
    _text(domain, "on_crash", "destroy")
    _devices(domain, command, console_log, caches)
    return tostring(domain, encoding="unicode")


def _firmware(domain: Element, hardware: Hardware) -> None:
    os = SubElement(domain, "os")
    _text(os, "type", "hvm", arch=hardware.architecture, machine=MACHINES[hardware.architecture])
    SubElement(os, "smbios", mode="sysinfo")
    system = SubElement(SubElement(domain, "sysinfo", type="smbios"), "system")
    _text(system, "entry", "cairn", name="manufacturer")
    _text(system, "entry", "cairn VM", name="product")
    _text(system, "entry", CLOUD_INIT_SEED, name="serial")
    _text(system, "entry", str(uuid.UUID(hardware.uuid)), name="uuid")


def _clock(domain: Element, *, local: bool) -> None:
    """Set the clock that the guest reads at boot: Windows takes it for local time, all others for UTC."""
    clock = SubElement(domain, "clock", offset="localtime" if local else "utc")
    SubElement(clock, "timer", name="rtc", tickpolicy="catchup")
    SubElement(clock, "timer", name="pit", tickpolicy="delay")
    SubElement(clock, "timer", name="hpet", present="no")


def _cpu(domain: Element, *, kvm: bool) -> None:
    """Choose the processor: under KVM what the host has; in software x86-64-v2, which current distributions ask for."""
    if kvm:
        SubElement(domain, "cpu", mode="host-model", check="partial")
    else:
        cpu = SubElement(domain, "cpu", mode="custom", match="exact", check="none")
        _text(cpu, "model", "Nehalem", fallback="allow")


def _devices(domain: Element, command: StartVm, console_log: str, caches: dict[str, str]) -> None:
    devices = SubElement(domain, "devices")
    SubElement(devices, "controller", type="usb", model="none")
    for disk in sorted(command.disks, key=lambda d: d.device_id):
        _disk(devices, disk, caches[disk.path])
    for nic in command.nics:
        _nic(devices, nic)
    serial = SubElement(devices, "serial", type="pty")
    SubElement(serial, "log", file=console_log, append="on")
    SubElement(serial, "target", port="0")
    console = SubElement(devices, "console", type="pty")
    SubElement(console, "target", type="serial", port="0")
    SubElement(devices, "graphics", type="vnc", listen="127.0.0.1", port="-1", autoport="yes")
    SubElement(SubElement(devices, "video"), "model", type="vga")
    if command.hardware.virtio:
        rng = SubElement(devices, "rng", model="virtio")
        _text(rng, "backend", "/dev/urandom", model="random")
    SubElement(devices, "memballoon", model="virtio" if command.hardware.virtio else "none")


def _disk(devices: Element, disk: Disk, cache: str) -> None:
    element = SubElement(devices, "disk", type="file", device="disk")
    SubElement(element, "driver", name="qemu", type=disk.format, cache=cache, discard="unmap")
    SubElement(element, "source", file=disk.path)
    bus = "sata" if disk.bus == "ide" and disk.device_id >= _IDE_DISKS else disk.bus
    prefix = {"virtio": "vd", "scsi": "sd", "sata": "sd", "ide": "hd"}.get(bus, "vd")
    SubElement(element, "target", dev=f"{prefix}{chr(ord('a') + disk.device_id)}", bus=bus)
    if disk.volume:
        _text(element, "serial", disk.volume)
    if disk.device_id == 0:
        SubElement(element, "boot", order="1")


def _nic(devices: Element, nic: Nic) -> None:
    element = SubElement(devices, "interface", type="bridge")
    SubElement(element, "mac", address=nic.mac)
    SubElement(element, "source", bridge=nic.bridge)
    SubElement(element, "target", dev=nic.device)
    SubElement(element, "model", type=nic.model)
    SubElement(element, "mtu", size=str(nic.mtu))


def _text(parent: Element, tag: str, text: str, **attributes: str) -> None:
    SubElement(parent, tag, attributes).text = text
