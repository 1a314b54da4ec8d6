"""The fields that all machines have, and the login of those that are reached over SSH."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Struct

from cairn.kernel.store.record import AdminOnly, Doc, Index, Key, Named, Record, Sealed, Text, Unique


class MachineStatus(StrEnum):
    """Whether a machine's agent answers."""

    CONNECTING = "Connecting"
    CONNECTED = "Connected"
    DISCONNECTED = "Disconnected"


class Machine(Named, frozen=True, kw_only=True):
    """A machine with an agent. Each kind has a table of its own, with a `state` that people set."""

    state: StrEnum
    status: Annotated[MachineStatus, Index()] = MachineStatus.CONNECTING
    status_reason: Annotated[str | None, AdminOnly(), Text(2048), Doc("why it is not connected")] = None
    agent_boot: Annotated[str, AdminOnly(), Doc("changes when the agent was restarted")] = ""
    agent_version: Annotated[str, AdminOnly(), Doc("of the cairn that its agent runs")] = ""
    agent_protocol: Annotated[
        int, AdminOnly(), Doc("the version of the protocol that its agent speaks; 0: it was not asked yet")
    ] = 0
    agent_warning: Annotated[
        str | None, AdminOnly(), Text(2048), Doc("what is not as it should be with its agent, which works all the same")
    ] = None
    machine_identity: Annotated[
        str | None,
        AdminOnly(),
        Unique(),
        Index(),
        Doc("which machine it is: made of its machine id and its hardware's uuid"),
    ] = None


class AgentSeen(Struct, frozen=True, kw_only=True):
    """What an agent told of itself when it was connected; the fields are those of `Machine`."""

    agent_boot: str
    agent_version: str
    agent_protocol: int
    agent_warning: str | None = None
    machine_identity: str | None = None


class SshLogin(Record, frozen=True, kw_only=True):
    """The login of a machine; extends the machine's row."""

    uuid: Annotated[str, Key()]
    username: Annotated[str, Doc("the user that Ansible logs in as")]
    password: Annotated[str | None, Sealed(), Text(1024)] = None
    private_key: Annotated[str | None, Sealed(), Text(None)] = None
    ssh_port: int = 22
    host_key_fingerprint: Annotated[
        str | None, Doc("of the SSH host key that is pinned for it, as ssh-keygen -l shows it: compare it once")
    ] = None
