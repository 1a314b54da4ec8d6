"""The fields that all machines have, and the login of those that are reached over SSH."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from cairn.kernel.store.record import AdminOnly, Doc, Key, Named, Record, Sealed, Text


class MachineStatus(StrEnum):
    """Whether a machine's agent answers."""

    CONNECTING = "Connecting"
    CONNECTED = "Connected"
    DISCONNECTED = "Disconnected"


class Machine(Named, frozen=True, kw_only=True):
    """A machine with an agent. Each kind has a table of its own, with a `state` that people set."""

    state: StrEnum
    status: MachineStatus = MachineStatus.CONNECTING
    status_reason: Annotated[str | None, AdminOnly(), Text(2048), Doc("why it is not connected")] = None
    agent_boot: Annotated[str, AdminOnly(), Doc("changes when the agent was restarted")] = ""


class SshLogin(Record, frozen=True, kw_only=True):
    """The login of a machine; extends the machine's row."""

    uuid: Annotated[str, Key()]
    username: Annotated[str, Doc("the user that Ansible logs in as")]
    password: Annotated[str | None, Sealed(), Text(1024)] = None
    private_key: Annotated[str | None, Sealed(), Text(None)] = None
    ssh_port: int = 22
