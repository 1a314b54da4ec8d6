"""Messages about KVM hosts."""

from __future__ import annotations

from typing import ClassVar

from cairn.kernel.api import Http, action, post
from cairn.kernel.machine.messages import Address, ApiUpdateLogin, LoginGiven, Password, Port, PrivateKey, Username
from cairn.services.host.messages import AddHost


class AddKVMHost(LoginGiven, AddHost, frozen=True, kw_only=True, tag="kvm.add-host"):
    """Make a Linux machine a host: log in over SSH, put the agent there, connect to it.

    The machine's host key is pinned at first sight. Give a password or a private key. Packages are installed only where they are
    missing. If anything fails the host is not added.

    Errors: ``ssh.no-login``, ``ssh.unreachable``, ``ssh.login-failed``, ``ssh.host-key-changed``, ``deploy.failed`` (with the
    failing task), ``host.address-taken``, ``host.wrong-hypervisor``.
    """

    http: ClassVar[Http] = post("/hosts/kvm")
    hypervisor_type: ClassVar[str] = "KVM"

    management_ip: Address  #: an IPv4 address or a name; other hosts and this node reach it there
    username: Username = "root"
    password: Password | None = None
    private_key: PrivateKey | None = None  #: in OpenSSH's or PEM form
    ssh_port: Port = 22


class UpdateKVMHost(ApiUpdateLogin, frozen=True, kw_only=True, tag="kvm.update-host"):
    """Change how to log in to a host, or its name, description or address; used at the next connect."""

    http: ClassVar[Http] = action("/hosts/kvm/{uuid}/actions", "updateKVMHost")
    entity: ClassVar[str | None] = "Host"

    management_ip: Address | None = None
