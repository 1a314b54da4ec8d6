"""What can be asked of KVM hosts."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from cairn.kernel.api import (
    ApiCommand,
    ApiCreate,
    Description,
    Http,
    Name,
    Reference,
    Refers,
    Secret,
    Uuid,
    action,
    post,
)

Address = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[0-9A-Za-z_:][0-9A-Za-z_.:%-]*$")]
Port = Annotated[int, Meta(ge=1, le=65535)]


class AddKVMHost(ApiCreate, frozen=True, kw_only=True, tag="kvm.add-host"):
    """Make a Linux machine a host: log in over SSH, put the agent there, connect to it.

    The machine's host key is pinned at first sight. Give a password or a private key. Packages are installed only where they are
    missing. If anything fails the host is not added.

    Errors: ``ssh.unreachable``, ``ssh.login-failed``, ``ssh.host-key-changed``, ``deploy.failed`` (with the failing task),
    ``host.address-taken``, ``host.wrong-hypervisor``.
    """

    route: ClassVar[str | None] = "resource_uuid"
    http: ClassVar[Http] = post("/hosts/kvm")
    entity: ClassVar[str | None] = "Host"

    name: Name
    description: Description | None = None
    management_ip: Address  #: an IPv4 address or a name; other hosts and this node reach it there
    cluster_uuid: Annotated[Uuid, Refers("Cluster")]
    username: Annotated[str, Meta(min_length=1, max_length=64)] = "root"
    password: Annotated[str, Meta(max_length=255), Secret()] | None = None
    private_key: Annotated[str, Meta(max_length=16384), Secret()] | None = None  #: in OpenSSH's or PEM form
    ssh_port: Port = 22


class UpdateKVMHost(ApiCommand[Reference], frozen=True, kw_only=True, tag="kvm.update-host"):
    """Change how to log in to a host, or its name, description or address; used at the next connect."""

    route: ClassVar[str | None] = "uuid"
    http: ClassVar[Http] = action("/hosts/kvm/{uuid}/actions", "updateKVMHost")
    entity: ClassVar[str | None] = "Host"

    uuid: Annotated[Uuid, Refers("Host")]
    name: Name | None = None
    description: Description | None = None
    management_ip: Address | None = None
    username: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    password: Annotated[str, Meta(max_length=255), Secret()] | None = None
    private_key: Annotated[str, Meta(max_length=16384), Secret()] | None = None
    ssh_port: Port | None = None
