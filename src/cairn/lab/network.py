"""The lab's network: a bridge in a namespace of its own, a cable to the machine, and one to each host.

Every function makes sure of what its name says, whatever is there already, so that a half-built network is completed by
doing it all again. The machine's own network gets one link more, and nothing of it is changed.
"""

from __future__ import annotations

from contextlib import suppress

from cairn.kernel.error import CairnError
from cairn.lab.layout import BRIDGE, HOST_LINK, MACHINE_PORT, HostLayout, LabLayout
from cairn.lab.machine import Machine, wait_until

#: Like data centers that carry VXLAN: guests keep 1500 bytes with the tunnel's header around them.
MTU_BYTES = "9000"


def ensure_switch(machine: Machine, layout: LabLayout) -> None:
    """Makes the bridge, and the machine's own cable into it with the machine's address."""
    switch = layout.switch_namespace
    _ensure_namespace(machine, switch)
    inside = {link.ifname for link in machine.links(switch)}
    if BRIDGE not in inside:
        machine.run("ip", "-n", switch, "link", "add", BRIDGE, "mtu", MTU_BYTES, "type", "bridge")
    # No spanning tree, whose forwarding delay would cut every new port off for 15 s, and no snooping: with no
    # querier about, a snooping bridge drops the multicast of VXLAN after a few minutes.
    machine.run(
        "ip", "-n", switch, "link", "set", BRIDGE, "type", "bridge",
        "stp_state", "0", "forward_delay", "0", "mcast_snooping", "0",
    )  # fmt: skip
    machine.run("ip", "-n", switch, "link", "set", BRIDGE, "up")
    if MACHINE_PORT not in inside:
        _remove_machine_link(machine, layout)
        machine.run(
            "ip", "link", "add", layout.machine_link, "mtu", MTU_BYTES, "type", "veth",
            "peer", "name", MACHINE_PORT, "mtu", MTU_BYTES, "netns", switch,
        )  # fmt: skip
    machine.run("ip", "-n", switch, "link", "set", MACHINE_PORT, "master", BRIDGE, "up")
    machine.run("ip", "link", "set", layout.machine_link, "addrgenmode", "none")
    machine.run(
        "ip", "address", "replace", f"{layout.machine_address}/{layout.prefix_length}", "dev", layout.machine_link
    )
    machine.run("ip", "link", "set", layout.machine_link, "up")


def lay_cable(machine: Machine, host: HostLayout) -> None:
    """Makes the namespace of a host that is not running, with card, address and cable into the switch: all fresh."""
    remove_cable(machine, host)
    _ensure_namespace(machine, host.namespace)
    plug_cable(machine, host)


def plug_cable(machine: Machine, host: HostLayout) -> None:
    """Plugs the host's cable into the switch; what the host made of its own end stays as it is.

    A host whose cable is gone altogether, because the switch was taken away, gets a new card.
    """
    switch = host.lab.switch_namespace
    if not _has_port(machine, host):
        machine.run(
            "ip", "-n", switch, "link", "add", host.port, "mtu", MTU_BYTES, "type", "veth",
            "peer", "name", HOST_LINK, "mtu", MTU_BYTES, "address", host.mac, "netns", host.namespace,
        )  # fmt: skip
        address = f"{host.address}/{host.lab.prefix_length}"
        machine.run("ip", "-n", host.namespace, "address", "add", address, "dev", HOST_LINK)
        machine.run("ip", "-n", host.namespace, "link", "set", HOST_LINK, "up")
    machine.run("ip", "-n", switch, "link", "set", host.port, "master", BRIDGE, "up")


def cut_cable(machine: Machine, host: HostLayout) -> None:
    """Pulls the host's cable out of the switch; both ends lose their carrier."""
    machine.run("ip", "-n", host.lab.switch_namespace, "link", "set", host.port, "down")


def is_cut(machine: Machine, host: HostLayout) -> bool:
    """Whether the host has no working cable to the switch."""
    links = machine.links(host.lab.switch_namespace)
    return not any(link.ifname == host.port and "UP" in link.flags for link in links)


def remove_cable(machine: Machine, host: HostLayout) -> None:
    """Takes away the host's namespace with all that the host built in it, as a power loss does."""
    if _has_port(machine, host):
        machine.run("ip", "-n", host.lab.switch_namespace, "link", "delete", host.port)
    if host.namespace in machine.namespaces():
        machine.run("ip", "netns", "delete", host.namespace)


def remove_all(machine: Machine, layout: LabLayout) -> None:
    """Takes away every namespace and link of the lab, even if nothing else is known of it."""
    _remove_machine_link(machine, layout)
    for name in machine.namespaces():
        if layout.owns_namespace(name):
            machine.run("ip", "netns", "delete", name)


def _remove_machine_link(machine: Machine, layout: LabLayout) -> None:
    """Removes the link. By itself it ends some time after the namespace at its other end, so it may go just now."""

    def present() -> bool:
        return layout.machine_link in {link.ifname for link in machine.links()}

    if present():
        with suppress(CairnError):
            machine.run("ip", "link", "delete", layout.machine_link)
        wait_until(lambda: not present(), f"the link {layout.machine_link} is gone", timeout_seconds=5)


def _has_port(machine: Machine, host: HostLayout) -> bool:
    return host.port in {link.ifname for link in machine.links(host.lab.switch_namespace)}


def _ensure_namespace(machine: Machine, name: str) -> None:
    if not machine.has_namespace(name):
        if name in machine.namespaces():
            machine.run("ip", "netns", "delete", name)
        machine.run("ip", "netns", "add", name)
    machine.run("ip", "-n", name, "link", "set", "lo", "up")
