"""Fields of messages about machines that are logged in to over SSH."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, ClassVar

from msgspec import Meta

from cairn.kernel.api import ApiChange, ApiUpdate, Secret
from cairn.kernel.bus.message import Event
from cairn.kernel.deploy.ssh import check_private_key
from cairn.kernel.error import CairnError, invalid
from cairn.kernel.words import END

Address = Annotated[str, Meta(min_length=1, max_length=253, pattern=rf"^[0-9A-Za-z_:][0-9A-Za-z_.:%-]*{END}")]
Port = Annotated[int, Meta(ge=1, le=65535)]
Username = Annotated[str, Meta(max_length=64, pattern=rf"^[0-9A-Za-z_][0-9A-Za-z_.@\\-]*{END}")]
Password = Annotated[str, Meta(max_length=255), Secret()]
PrivateKey = Annotated[str, Meta(max_length=16384), Secret()]
HostKeyFingerprint = Annotated[str, Meta(pattern=rf"^SHA256:[A-Za-z0-9+/]{{43}}=?{END}")]


def check_address(field: str, address: str | None) -> None:
    """Refuse an address that could be read in two ways: "198.18.13" is 198.18.0.13 for some programs, and a name for none.

    Args:
        field: in which it is given.
        address: None: none is given, and the one that is known stays.

    Raises:
        CairnError: ``machine.bad-address``.
    """
    if address is None or not _NUMERIC.fullmatch(address):
        return
    try:
        ipaddress.IPv4Address(address)
    except ValueError:
        fits = "four numbers from 0 to 255 without leading zeros, or a name, would fit"
        raise invalid("machine.bad-address", field, address, fits) from None


_NUMBER = r"(0[xX][0-9A-Fa-f]+|[0-9]+)"
_NUMERIC = re.compile(rf"{_NUMBER}(\.{_NUMBER})*\.?")


class LoginGiven:
    """A base of messages that add a machine: they are refused without a way to log in to it (``ssh.no-login``)."""

    __slots__ = ()

    password: Password | None
    private_key: PrivateKey | None

    def check(self) -> None:
        """Refuse a message that has neither a password nor a key, or something else in the key's place (``ssh.bad-key``)."""
        if not self.password and not self.private_key:
            raise CairnError(
                "ssh.no-login",
                "Nothing was given to log in with: give the password or a privateKey of the user on that machine.",
                fields={"password": "found nothing; a password, or a privateKey instead, would fit"},
            )
        if self.private_key:
            check_private_key(self.private_key)


class ApiUpdateLogin(ApiUpdate, frozen=True, kw_only=True):
    """An API call that changes how to log in to a machine."""

    abstract: ClassVar[bool] = True

    username: Username | None = None
    password: Password | None = None  #: used instead of the private key that there was, unless one is given too
    private_key: PrivateKey | None = None  #: in OpenSSH's or PEM form
    ssh_port: Port | None = None
    #: that the machine's SSH host key must have from now on, whatever was pinned before: as ssh-keygen -l shows it
    host_key_fingerprint: HostKeyFingerprint | None = None

    def check(self) -> None:
        """Refuse something else in a private key's place (``ssh.bad-key``)."""
        super().check()
        if self.private_key:
            check_private_key(self.private_key)


class ApiReconnect(ApiChange, frozen=True, kw_only=True):
    """An API call that connects a machine again."""

    abstract: ClassVar[bool] = True

    redeploy: bool = False  #: put the agent there again, even if it answers and is the one that it should be
    #: take the machine that answers now for this one, though it was installed again, has other hardware, or is another
    accept_machine: bool = False


class AgentWarned(Event, frozen=True, kw_only=True, tag="machine.agent-warned"):
    """Something is not as it should be with a machine's agent, which works all the same: it could not be upgraded, say."""

    machine: str
    name: str
    version: str  #: of the cairn that the agent runs
    warning: str


class MachineSuspected(Event, frozen=True, kw_only=True, tag="machine.suspected"):
    """A call to a machine failed on a node that does not watch it; told on the bus, to the node that does."""

    noun: str  #: of the kind of machine
    uuid: str
    reason: str


class HostKeyPinned(Event, frozen=True, kw_only=True, tag="machine.host-key-pinned"):
    """The SSH host key of a machine was pinned: from now on only a machine with this key is logged in to."""

    machine: str
    name: str
    fingerprint: str  #: as ssh-keygen -l shows it
    given: bool  #: whether somebody gave it; else it was believed at first sight, and should be compared once
