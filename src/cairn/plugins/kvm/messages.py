"""Messages about KVM hosts."""

from __future__ import annotations

from typing import ClassVar

from cairn.kernel.api import Http, action, post
from cairn.kernel.machine.messages import (
    Address,
    ApiUpdateLogin,
    HostKeyFingerprint,
    LoginGiven,
    Password,
    Port,
    PrivateKey,
    Username,
    check_address,
)
from cairn.services.host.messages import AddHost


class AddKVMHost(LoginGiven, AddHost, frozen=True, kw_only=True, tag="kvm.add-host"):
    """Make a Linux machine a host: log in over SSH, put the agent there, connect to it.

    The machine's SSH host key is pinned: the one whose fingerprint is given, else the one that it shows at first sight, which
    `hostKeyFingerprint` tells from then on. Give a password or a private key. Packages are installed only where they are
    missing. If anything fails the host is not added.

    Errors: ``ssh.no-login``, ``ssh.bad-key``, ``ssh.unreachable``, ``ssh.login-failed``, ``ssh.wrong-host-key``,
    ``machine.clock-wrong``, ``deploy.failed`` (with the failing task), ``host.address-taken``, ``host.machine-taken`` (it is a
    host already, by another address), ``host.wrong-hypervisor``.
    """

    http: ClassVar[Http] = post("/hosts/kvm")
    hypervisor_type: ClassVar[str] = "KVM"

    management_ip: (
        Address  #: an IPv4 address or a name that no other host has; other hosts and this node reach it there
    )
    username: Username = "root"
    password: Password | None = None
    private_key: PrivateKey | None = None  #: in OpenSSH's or PEM form
    ssh_port: Port = 22
    #: that the machine's SSH host key must have, as ssh-keygen -l shows it; nothing is sent to a machine that shows another
    host_key_fingerprint: HostKeyFingerprint | None = None


class UpdateKVMHost(ApiUpdateLogin, frozen=True, kw_only=True, tag="kvm.update-host"):
    """Change how to log in to a host, or its name, description or address; used at the next connect."""

    http: ClassVar[Http] = action("/hosts/kvm/{uuid}/actions", "updateKVMHost")
    entity: ClassVar[str | None] = "Host"

    management_ip: Address | None = None

    def check(self) -> None:
        """Refuse an address that could be read in two ways (``machine.bad-address``)."""
        super().check()
        check_address("managementIp", self.management_ip)
