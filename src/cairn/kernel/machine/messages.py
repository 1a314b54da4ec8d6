"""Fields of messages about machines that are logged in to over SSH."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from cairn.kernel.api import ApiUpdate, Secret
from cairn.kernel.error import CairnError

Address = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[0-9A-Za-z_:][0-9A-Za-z_.:%-]*$")]
Port = Annotated[int, Meta(ge=1, le=65535)]
Username = Annotated[str, Meta(min_length=1, max_length=64)]
Password = Annotated[str, Meta(max_length=255), Secret()]
PrivateKey = Annotated[str, Meta(max_length=16384), Secret()]


class LoginGiven:
    """A base of messages that add a machine: they are refused without a way to log in to it (``ssh.no-login``)."""

    __slots__ = ()

    password: Password | None
    private_key: PrivateKey | None

    def check(self) -> None:
        """Refuse a message that has neither a password nor a key."""
        if not self.password and not self.private_key:
            raise CairnError(
                "ssh.no-login",
                "Nothing was given to log in with: give the password or a privateKey of the user on that machine.",
                fields={"password": "found nothing; a password, or a privateKey instead, would fit"},
            )


class ApiUpdateLogin(ApiUpdate, frozen=True, kw_only=True):
    """An API call that changes how to log in to a machine."""

    abstract: ClassVar[bool] = True

    username: Username | None = None
    password: Password | None = None  #: used instead of the private key that there was, unless one is given too
    private_key: PrivateKey | None = None  #: in OpenSSH's or PEM form
    ssh_port: Port | None = None
