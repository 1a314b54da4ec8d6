"""Envelopes of the agent protocol, and the base class of commands."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

import msgspec
from msgspec import Struct

from cairn.agents.protocol.fence import Fences

#: Raised when agents of the version before could no longer be given commands, not when something is added.
PROTOCOL_VERSION = 1

#: The group of entry points by which plugins name what they have for agents (`cairn.agents.plugins`).
ENTRY_POINTS = "cairn.agents"

#: A request to an agent may have so many bytes. What grows with the number of VMs is sent in several.
MAX_REQUEST_BYTES = 1 << 20

#: An agent keeps a connection on which nothing comes for so long. Pings come more often, so they need no new one.
KEEP_ALIVE_SECONDS = 300.0


class Result(Struct, frozen=True, kw_only=True, rename="camel"):
    """The base of all answers of commands. Unknown fields are ignored, so that a newer agent may say more."""


class Done(Result, frozen=True, kw_only=True):
    """The empty answer, of commands that have nothing to tell."""


R = TypeVar("R", bound=Result)


class AgentCommand(
    Struct, Generic[R], frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True
):
    """One thing an agent can be asked for.

    `name` is its name on the wire, `answer` the type of its result. `about_caller`: the codes of failures whose sentence
    tells only of what the API's caller gave (a URL, a file behind it), so that the caller may read it. All others tell of
    the machine, its paths and programs, and are for administrators.

    A field that is added later has a default that means "as before". Defaults are left out on the wire, so an agent of the
    version before does all that does not need the field, and refuses what does: it must not do half of what is asked.
    """

    name: ClassVar[str]
    answer: ClassVar[type[Result]]
    about_caller: ClassVar[frozenset[str]] = frozenset()


class Part(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """A base of what commands are made of: a disk, a network card. Later fields are as `AgentCommand` says, here too."""


class Request(Struct, frozen=True, kw_only=True, rename="camel"):
    """The body of ``POST /v1/commands``."""

    task: str  #: 32 hex digits; the same task is never run twice
    command: str  #: `AgentCommand.name`
    body: msgspec.Raw  #: the command itself, JSON
    callback: str | None = None  #: where the reply goes when it takes longer than `wait_seconds`; None: poll
    wait_seconds: float = 5.0  #: how long the agent may hold the exchange open before it answers 202
    deadline_seconds: float = 300.0  #: after this long the agent gives the work up
    job: str | None = None  #: the job on whose behalf this is done, for the agent's log
    fences: Fences = ()  #: in whose turn it is given; agents that do not know of them pass over them


class Failure(Struct, frozen=True, kw_only=True, rename="camel"):
    """Why a command failed. `code` is stable (``agent.no-space``); `message` says what was found and what to do."""

    code: str
    message: str


class Reply(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How a task ended: exactly one of `result` and `error` is given."""

    task: str
    result: msgspec.Raw = msgspec.Raw(b"")  #: JSON, as the command says; empty (on the wire: left out): it failed
    error: Failure | None = None


class Space(Result, frozen=True, kw_only=True):
    """Bytes of the file system under a storage folder."""

    total_bytes: int
    available_bytes: int
    used_bytes: int = 0  #: taken by the files in the folder
    file_system: str = ""  #: the same for all folders of a machine that are on one file system; empty: not known


class Pong(Struct, frozen=True, kw_only=True, rename="camel"):
    """The answer to a ping: who the agent is, the VMs that it really has, and how full its disks are."""

    host: str | None  #: the host's uuid, as told by `Connect`; None before the first one
    version: str  #: of the cairn distribution that the agent runs
    protocol: int = PROTOCOL_VERSION
    boot: str = ""  #: changes when the agent was restarted
    vms: dict[str, str] = {}  #: VM uuid -> power state (`vm.PowerState` value)
    machine: str | None = None  #: what the machine is (`cairn.agents.protocol.machine`); None: it cannot tell
    deployment: str = ""  #: what was put there, as the node named it that did (`AgentConfig.deployment`)
    certificate_ends: float = 0.0  #: when its certificate ends, in seconds since the epoch; 0: it has none
    issuer: str = ""  #: the name of the root that signed it
    trust: str = ""  #: the digest of the roots that it trusts (`cairn.agents.protocol.trust`)
    revocation: str = ""  #: the digest of the revoked certificates that it knows (`cairn.agents.protocol.trust`)
    time: float = 0.0  #: seconds since the epoch, by the machine's clock; 0: it does not tell
    folders: dict[str, Space] = {}  #: prepared storage folder -> its space, as last measured; none: not measured yet


class Report(Struct, frozen=True, kw_only=True, rename="camel"):
    """An event on the machine that no command caused."""

    host: str
    kind: str  #: ``vm.state``
    vm: str | None = None
    state: str | None = None  #: `PowerState` value
    reason: str | None = None  #: ``shutdown``, ``crashed``, ``destroyed``, ``started``, ...
    time: float = 0.0  #: seconds since the epoch, by the machine's clock
