"""What all machines have, and how to log in to those that have SSH."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from cairn.kernel.store.record import AdminOnly, Doc, Hidden, Key, Named, Record, Text


class MachineStatus(StrEnum):
    """What is known of a machine."""

    CONNECTING = "Connecting"
    CONNECTED = "Connected"
    DISCONNECTED = "Disconnected"


class Machine(Named, frozen=True, kw_only=True):
    """A machine with an agent. Each kind has a table of its own, with a `state` of what people want of it."""

    state: StrEnum
    status: MachineStatus = MachineStatus.CONNECTING
    status_reason: Annotated[str | None, AdminOnly(), Text(2048), Doc("why it is not connected")] = None
    agent_boot: Annotated[str, AdminOnly(), Doc("changes when the agent was restarted")] = ""


class SshLogin(Record, frozen=True, kw_only=True):
    """How to log in to a machine; extends the machine's row."""

    uuid: Annotated[str, Key()]
    username: Annotated[str, Doc("the user that Ansible logs in as")]
    password: Annotated[str | None, Hidden(), Text(1024)] = None
    private_key: Annotated[str | None, Hidden(), Text(None)] = None
    ssh_port: int = 22
